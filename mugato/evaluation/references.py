"""What the agent's returns are measured against: expert and random actions on its own seeds."""

from collections.abc import Sequence

import numpy as np

from mugato.data.minari_source import open_minari
from mugato.evaluation.scores import Reference
from mugato.tasks.rollout import reference_scores
from mugato.tasks.task import Task


def measure_reference(
    task: Task, seeds: Sequence[int], *, demonstrations: str | None = None
) -> Reference:
    """Let the expert and random actions play the agent's seeds.

    Args:
        demonstrations: Minari data set whose mean return stands for the expert's where the task has
            no expert.

    Raises:
        ValueError: neither an expert nor demonstrations with rewards.
    """
    has_expert = task.make_expert is not None
    demonstrated = [] if has_expert else demonstrated_returns(task, demonstrations)
    measured = reference_scores(task, seeds)
    return Reference(
        expert=float(np.mean(measured["expert"] if has_expert else demonstrated)),
        random=float(np.mean(measured["random"])),
        expert_is="expert" if has_expert else "demonstrations",
    )


def demonstrated_returns(task: Task, demonstrations: str | None) -> list[float]:
    """Returns of all demonstrations: the reference for tasks whose expert is not at hand.

    Raises:
        ValueError: no data set is known, or it holds no rewards.
    """
    if demonstrations is None:
        raise ValueError(f"{task.name} has neither an expert nor demonstrations to compare with")
    source = open_minari(demonstrations)
    rewards = [source[i].rewards for i in range(len(source))]
    if any(r is None for r in rewards):
        raise ValueError(f"{task.name}: the demonstrations {demonstrations!r} hold no rewards")
    return [float(r.sum()) for r in rewards if r is not None]
