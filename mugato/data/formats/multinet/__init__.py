"""MultiNet's own data (Manifold Research, v1.0): what it asks, what it takes, and its downloads.

Start at `requests.py`, which reads a request of the benchmark's for training and for answering
alike; `answers.py` holds the form in which its scorers compare answers, `read.py` opens what its
downloaders leave on disk. This room imports nothing of the benchmark's, and does not know agents.
"""
