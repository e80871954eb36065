"""The machine beneath: worker processes, signals, whole files, typed JSON, one-line errors.

Start at `workers.py`. This room knows nothing of agents, tasks or data.
"""
