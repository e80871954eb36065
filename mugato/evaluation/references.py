"""What the agent's returns are measured against: expert and random actions.

Taken from the table that comes with mugato where the packages here are those it was measured with;
otherwise both play the agent's own seeds.
"""

from collections.abc import Sequence

import numpy as np

from mugato.data.formats.minari.read import open_minari
from mugato.evaluation.scores import ON_AGENTS_SEEDS, Reference
from mugato.tasks.references import play_seeds, reference, versions_of
from mugato.tasks.task import EVALUATION_SEEDS, Task


def tabled_reference(task: Task, seeds: Sequence[int]) -> Reference | None:
    """The table's means; None where it lacks the task, or other versions are installed."""
    found = reference(task.name)
    try:
        if found is None or found.versions != versions_of(task):
            return None
    except ImportError:  # the task's own job will say what to install
        return None
    played = EVALUATION_SEEDS[: found.episodes]
    same = list(seeds) == list(played)
    return Reference(
        expert=found.expert,
        random=found.random,
        measured=ON_AGENTS_SEEDS if same else f"on seeds {played[0]} to {played[-1]}",
    )


def measure_reference(
    task: Task, seeds: Sequence[int], *, demonstrations: str | None = None
) -> Reference:
    """Let the expert and random actions play the agent's seeds.

    Where the expert gives up at some seeds, its mean is over the others, and `measured` says so.

    Args:
        demonstrations: Minari data set whose mean return stands for the expert's where the task has
            no expert.

    Raises:
        ValueError: neither an expert nor whole demonstrations; an expert that acts outside
            the action space or gives up at all seeds.
    """
    has_expert = task.make_expert is not None
    demonstrated = [] if has_expert else demonstrated_returns(task, demonstrations)
    expert, chance = play_seeds(task, seeds)
    returns = [played.episode_return for played in expert] if has_expert else demonstrated
    gave_up = len(seeds) - len(expert) if has_expert else 0
    return Reference(
        expert=float(np.mean(returns)),
        random=float(np.mean([played.episode_return for played in chance])),
        expert_is="expert" if has_expert else "demonstrations",
        measured=f"{ON_AGENTS_SEEDS}{_but_at(task, gave_up)}",
    )


def demonstrated_returns(task: Task, demonstrations: str | None) -> list[float]:
    """Returns of all demonstrations: the reference for tasks whose expert is not at hand.

    Raises:
        ValueError: no data set is known, or an episode is damaged: one without rewards is.
    """
    if demonstrations is None:
        raise ValueError(f"{task.name} has neither an expert nor demonstrations to compare with")
    source = open_minari(demonstrations)
    return [source[i].episode_return for i in range(len(source))]


def _but_at(task: Task, gave_up: int) -> str:
    return f", of which the expert of {task.name} gave up at {gave_up}" if gave_up else ""
