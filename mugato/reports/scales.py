"""Where a normalized score misleads: scales that are too wide, too narrow or all noise.

A normalized score is a return on the scale from random actions (0) to the expert (1). It ranks
agents on any scale on which the expert is better than chance, but it is read as "how nearly as good
as the expert", and that depends on how long the scale is beside what the task pays. Nothing here
changes a score: what misleads is marked, said, and the return given beside it.
"""

import numpy as np

from mugato.evaluation.results import EvaluationResults
from mugato.evaluation.scores import TaskScores

MARK = "†"
# Beside the expert's return: on a longer scale an agent that is off by all of what the expert
# earns loses less than 0.05, on one shorter than the inverse random actions are as good as that.
WIDE = 20.0
CLOSE = 0.95


def caution(task: TaskScores) -> str | None:
    """Say why a task's normalized score misleads; None where it does not, or there is none.

    With the gap expert - random, it does where

    - wide: the gap is more than 20 times the expert's return. Taxi's expert earns 8 and random
      actions -776, so that an agent that loses 30 still scores 0.95.
    - narrow: the gap is less than 1/20 of the expert's return, so that random actions are nearly as
      good as the expert.
    - noise: the gap is less than the standard deviation of the agent's returns, so that luck in one
      episode is worth more than the whole scale.

    What the expert earns is what the environment pays, its constant part too: for rewards that are
    costs without a natural zero the first two may say too much or too little.
    """
    if task.reference is None or not task.has_score:
        return None
    expert, random = task.reference.expert, task.reference.random
    gap, spread = expert - random, float(np.std(task.returns))
    if gap > WIDE * abs(expert):
        still = expert - (1 - CLOSE) * gap
        return (
            f"{_scored(task)} on a wide scale: random actions return {random:.4g} and the expert "
            f"{expert:.4g}, so that {still:.3g} already scores {CLOSE}"
        )
    if gap < abs(expert) / WIDE:
        return (
            f"{_scored(task)} on a narrow scale: random actions return {random:.6g}, nearly the "
            f"expert's {expert:.6g}"
        )
    if gap < spread:
        return (
            f"{_scored(task)} on a scale shorter than luck: {gap:.3g} lies between random actions "
            f"and the expert, and single returns differ by {spread:.3g} (standard deviation)"
        )
    return None


def cautions(results: EvaluationResults) -> dict[str, str]:
    """Return what is to be said of each task whose score misleads."""
    found = {name: caution(task) for name, task in results.tasks.items()}
    return {name: why for name, why in found.items() if why is not None}


def marked(task: TaskScores) -> str:
    """Return the task's name, with a mark where its score misleads."""
    return task.name if caution(task) is None else f"{task.name} {MARK}"


def _scored(task: TaskScores) -> str:
    return f"a return of {task.return_mean:.4g} scores {task.score:.2f}"
