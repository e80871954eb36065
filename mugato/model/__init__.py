"""The network: embedding, sequence models, tied head and loss (Reed et al. 2022, §2.3, App. C).

Start at `gato.py`; `sequence_model.py` is the contract that a sequence model fulfills. This room
knows batches of tokens. It does not know environments, tasks, data or files other than weights.
"""
