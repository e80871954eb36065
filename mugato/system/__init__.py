"""The machine beneath: worker processes, atomic files, optional packages, errors in one line.

Start at `workers.py`. This room knows nothing of agents, tasks or data.
"""
