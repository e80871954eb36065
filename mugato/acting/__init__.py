"""The agent at work: acting in environments and writing text (Reed et al. 2022, §2.5).

Start at `policy.py`, then `batch_policy.py` and `stream.py`, on which it stands; `text.py`
captions, answers and continues. This room knows agents and spaces. It does not know training,
data sets or scores.
"""
