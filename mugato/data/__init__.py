"""Where episodes come from, and how windows of them are mixed into batches (§2.2, §3).

Start at `source.py`, the base class of everything that can be read, then `windows.py`,
`mixture.py` and `loader.py`, the way to a batch; `registry.py` opens a source by its name. This
room knows specs and tokens. It does not know the model, environments or the training loop.
"""
