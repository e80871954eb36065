"""Environments of our own, where no package has them: Sokoban's rooms and TextWorld's games.

They are Gymnasium environments and do not know the rest of mugato. Start at `sokoban.py`.
"""
