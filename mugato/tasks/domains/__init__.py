"""Lists of tasks, one module for each domain and one line for each task.

To add an environment, add a line to its domain's `TASKS`. Start at `classic_control.py`, the
plainest. A domain does not know who plays its tasks.
"""
