"""Scores of an agent on episodes and data that it was not trained on (§4-5).

Start at `evaluate.py`, whose `evaluate` is the whole job; `results.py` is what comes of it. This
room knows runs by `RunInfo` and by how far they came. It does not know how results are shown.
"""
