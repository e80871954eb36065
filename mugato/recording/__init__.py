"""Demonstrations by experts, recorded into Minari data sets (Reed et al. 2022, §3.1).

Start at `recorder.py`, whose `record` is the whole job; `demonstrate.py` plays one seed and
`store.py` keeps what came of it until all are there. This room knows tasks and Minari. It does
not know tokens or models.
"""
