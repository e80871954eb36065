"""The command line: one module for each command, a thin layer over the library.

Start at `main.py`. A command parses, calls a function that Python users call too, and draws its
progress. Nothing imports from here, and it does not know how anything is computed.
"""
