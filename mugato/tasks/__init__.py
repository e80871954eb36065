"""Environments with experts and reference scores, and the loop that plays an episode (§4).

Start at `task.py`; `registry.py` collects what the files of `domains/` list. This room knows
Gymnasium. It does not know tokens, models or how demonstrations are stored.
"""
