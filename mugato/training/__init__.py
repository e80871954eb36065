"""A training run, from its configuration to a checkpoint that resumes to the bit (§2.2, App. C).

Start at `run.py`, whose `train` is the whole job, then `loop.py`. This room knows the data, the
model and how they meet. It does not know how an agent acts or is scored, nor the command line.
"""
