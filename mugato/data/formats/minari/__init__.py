"""Demonstrations on disk in Minari's format: `layout.py`, then `read.py` and `write.py`.

Everything that knows Minari's HDF5 files stands in this room. It does not know which environment
or expert the episodes are from.
"""
