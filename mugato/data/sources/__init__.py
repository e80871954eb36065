"""Data sets that install with pip or come from a hub by name, each with its metric.

One module for each; `../registry.py` lists them. They do not know how they are mixed or which
agent answers them. Start at `shakespeare.py`, the shortest.
"""
