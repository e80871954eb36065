"""Policies that demonstrate tasks where no package brings an expert.

Each is a function from an environment to its actions: it may look into the environment, and does
not know the rest of mugato. Start at `missions.py`, which follows BabyAI's own bot.
"""
