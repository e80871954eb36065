"""From episode returns to normalised scores, with intervals.

A score of 0 is the random policy's mean return and 1 the expert's, both measured on the seeds of
the agent's own episodes. It knows nothing of environments or models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 9999
CONFIDENCE = 0.95
THRESHOLDS = (0.5, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """What one task's evaluation found; entry i of every list belongs to seed `first_seed` + i.

    Attributes:
        returns, lengths: the agent's episodes; a length is in timesteps.
        expert: the expert's returns, or where the task has no expert those of its demonstrations.
        random: returns of uniformly random actions.
        expert_is: "expert" or "demonstrations".
        max_episode_steps: no episode is longer.
        seconds: how long the agent's episodes and the references took.
    """

    name: str
    domain: str
    first_seed: int
    returns: Sequence[float]
    lengths: Sequence[int]
    expert: Sequence[float]
    random: Sequence[float]
    expert_is: str
    max_episode_steps: int
    seconds: float

    def normalized(self) -> tuple[float, tuple[float, float]]:
        """The normalised score and its interval.

        Raises:
            ValueError: for a degenerate reference, naming the task.
        """
        scale = {"expert": mean(self.expert), "random": mean(self.random), "task": self.name}
        return normalized_score(mean(self.returns), **scale), interval(self.returns, **scale)


def normalized_score(episode_return: float, *, expert: float, random: float, task: str) -> float:
    """(return - random) / (expert - random).

    Raises:
        ValueError: if the expert is no better than chance, where the score means nothing.

    >>> normalized_score(60.0, expert=110.0, random=10.0, task="cartpole")
    0.5
    """
    if not expert > random:
        raise ValueError(
            f"{task}: the expert's mean return {expert:g} is not above the random policy's "
            f"{random:g}: there is no normalized score"
        )
    return (episode_return - random) / (expert - random)


def interval(
    returns: Sequence[float], *, expert: float, random: float, task: str, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the normalised score over the agent's episodes.

    The references count as known. One episode alone says nothing about spread: its interval is its
    own score.

    >>> interval([5.0, 5.0, 5.0], expert=10.0, random=0.0, task="cartpole")
    (0.5, 0.5)
    """
    scores = [normalized_score(r, expert=expert, random=random, task=task) for r in returns]
    if min(scores) == max(scores):
        return scores[0], scores[0]
    from scipy.stats import bootstrap

    result = bootstrap(
        (np.array(scores),),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low), float(high)


def summary(scores: Mapping[str, float]) -> dict[str, float | int | dict[str, int]]:
    """Mean over tasks, the worst one, and how many reach each threshold.

    >>> summary({"a": 1.0, "b": 0.5})["tasks_at_or_above"]
    {'0.5': 2, '0.8': 1, '1.0': 1}
    """
    if not scores:
        return {}
    values = list(scores.values())
    return {
        "num_tasks": len(values),
        "mean_normalized_score": mean(values),
        "min_normalized_score": min(values),
        "tasks_at_or_above": {str(t): sum(v >= t for v in values) for t in THRESHOLDS},
    }


def mean(values: Sequence[float | int]) -> float:
    """The mean of at least one value."""
    return float(np.mean(values))
