"""What the agent's returns are measured against: expert and random actions.

Taken from the table that comes with mugato where the packages here are those it was measured with;
otherwise both play the agent's own seeds. Beside them stand the references that JAT published
(Gallouédec et al. 2024), for those tasks whose return means the same there and here.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from mugato.data.formats.minari.read import open_minari
from mugato.evaluation.scores import PUBLISHED, Reference
from mugato.tasks.references import play_seeds, reference, versions_of
from mugato.tasks.task import EVALUATION_SEEDS, Task

JAT_SCORES = "jat_scores.json"


def tabled_reference(task: Task, seeds: Sequence[int]) -> Reference | None:
    """Look up the table's means; None where it lacks the task, or other versions are installed."""
    found = reference(task.name)
    try:
        if found is None or found.versions != versions_of(task):
            return None
    except ImportError:  # the task's own job will say what to install
        return None
    played = EVALUATION_SEEDS[: found.episodes]
    whose = ", the agent's own" if list(seeds) == list(played) else ""
    return Reference(
        expert=found.expert,
        random=found.random,
        measured=f"mugato's table: {_both(found.episodes, found.gave_up)}, "
        f"seeds {played[0]} to {played[-1]}{whose}",
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
    seeds_of = f"the agent's seeds {seeds[0]} to {seeds[-1]}"
    if has_expert:
        measured = f"played for this report: {_both(len(seeds), gave_up)}, {seeds_of}"
    else:
        measured = (
            f"expert: the mean of {len(demonstrated)} demonstrations in {demonstrations}; random "
            f"actions, played for this report: {len(chance)} episodes, {seeds_of}"
        )
    return Reference(
        expert=float(np.mean(returns)),
        random=float(np.mean([played.episode_return for played in chance])),
        expert_is="expert" if has_expert else "demonstrations",
        measured=measured,
    )


def _both(episodes: int, gave_up: int) -> str:
    """Say how many episodes the expert and random actions played.

    >>> _both(50, 2)
    'expert and random actions, 50 episodes each (the expert gave up at 2)'
    """
    but = f" (the expert gave up at {gave_up})" if gave_up else ""
    return f"expert and random actions, {episodes} episodes each{but}"


def demonstrated_returns(task: Task, demonstrations: str | None) -> list[float]:
    """Return all demonstrations' returns: the reference for tasks whose expert is not at hand.

    Raises:
        ValueError: no data set is known, or an episode is damaged: one without rewards is.
    """
    if demonstrations is None:
        raise ValueError(f"{task.name} has neither an expert nor demonstrations to compare with")
    source = open_minari(demonstrations)
    return [source[i].episode_return for i in range(len(source))]


def jat_reference(name: str | None) -> Reference | None:
    """Look up a task by JAT's name; None where it is not there, or does not compare.

    >>> found = jat_reference("babyai-go-to-local")
    >>> found.expert, found.random
    (0.925005, 0.162485)
    >>> jat_reference("metaworld-reach") is None
    True
    """
    return None if name is None else _jat_references().get(name)


@cache
def _jat_references() -> Mapping[str, Reference]:
    data = json.loads(files("mugato.evaluation").joinpath(JAT_SCORES).read_text("utf-8"))
    return {
        name: Reference(expert=expert, random=random, measured=PUBLISHED)
        for name, (expert, random) in data["scores"].items()
    }
