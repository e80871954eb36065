"""An agent acts, and an expert says what it would have done (DAgger, Ross et al. 2011).

Start at `recorder.py`, whose `record_corrections` is the whole job for one task; `drive.py` plays
the episodes, `rounds.py` is a training with corrections in between. This room knows agents and
experts, recording and training. It does not know scores, nor how anything is shown.
"""
