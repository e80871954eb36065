"""Readers of files and data sets that others have made, each as a `Source`.

One module for each format: Minari, LeRobot, Hugging Face, JAT, MultiNet, text files and folders
of pictures. They do not know who trains on what they read. Start at the format that you have;
`../registry.py` says how each is named.
"""
