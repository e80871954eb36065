"""From episode returns to normalised scores, with intervals.

A score of 0 is the random policy's mean return and 1 the expert's. Intervals come from resampling
the agent's episodes; the references count as known. It knows nothing of environments or models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

NUM_RESAMPLES = 9999
CONFIDENCE = 0.95
THRESHOLDS = (0.5, 0.8, 1.0)
TRIMMED = 0.25  # of the tasks at each end: what is left is the inter-quartile range

ON_AGENTS_SEEDS = "on the agent's seeds"

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a task's score is measured against: mean returns.

    Attributes:
        expert: of the expert, or where the task has no expert of its demonstrations.
        random: of uniformly random actions.
        expert_is: "expert" or "demonstrations".
        measured: on which episodes.
    """

    expert: float
    random: float
    expert_is: str = "expert"
    measured: str = ON_AGENTS_SEEDS

    def normalized(self, returns: Sequence[float], *, task: str) -> Float[np.ndarray, " episodes"]:
        """Each return's score.

        Raises:
            ValueError: for a degenerate reference, naming the task.
        """
        scale = {"expert": self.expert, "random": self.random, "task": task}
        return np.array([normalized_score(r, **scale) for r in returns])


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """What one task's evaluation found; entry i of every list belongs to `seeds[i]`.

    Attributes:
        returns, lengths: the agent's episodes; a length is in timesteps.
        failure_return: episodes that return this or less have failed; None if none can.
        jat_name: the task's name in JAT, if it is there.
        failed: why the episodes at these seeds have no return: their environment crashed twice.
        max_episode_steps: no episode is longer.
    """

    name: str
    domain: str
    seeds: Sequence[int]
    returns: Sequence[float]
    lengths: Sequence[int]
    reference: Reference
    max_episode_steps: int
    failure_return: float | None = None
    jat_name: str | None = None
    failed: Mapping[int, str] = field(default_factory=dict)

    @property
    def success(self) -> float | None:
        """Share of episodes that did not fail; None where the task knows no failure."""
        if self.failure_return is None:
            return None
        return float(np.mean([r > self.failure_return for r in self.returns]))

    def normalized(self) -> Float[np.ndarray, " episodes"]:
        """Each episode's score.

        Raises:
            ValueError: for a degenerate reference, naming the task.
        """
        return self.reference.normalized(self.returns, task=self.name)


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


def interval(scores: Sequence[float] | np.ndarray) -> Interval:
    """95 % percentile bootstrap interval of the mean over episodes.

    One episode alone says nothing about spread: its interval is its own score.

    >>> interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    return stratified_interval([np.asarray(scores)], mean)


def stratified_interval(
    strata: Sequence[Float[np.ndarray, " _"]],
    aggregate: Callable[[Any], Any],
    *,
    seed: int = 0,
) -> Interval:
    """95 % interval of an aggregate of task means; every task's episodes are resampled apart.

    Args:
        aggregate: of the task means along axis 0 of a (tasks, resamples) array.
    """
    resampled = _resampled_means([stratum[:, None] for stratum in strata], seed)
    return _percentiles(aggregate(resampled[..., 0]))


def stratified_difference(
    strata: Sequence[Float[np.ndarray, "_ 2"]],
    aggregate: Callable[[Any], Any],
    *,
    seed: int = 0,
) -> Interval:
    """The same of the second column's aggregate less the first's; rows are pairs and stay so."""
    resampled = _resampled_means(strata, seed)
    return _percentiles(aggregate(resampled[..., 1]) - aggregate(resampled[..., 0]))


def _resampled_means(strata: Sequence[Float[np.ndarray, "_ c"]], seed: int) -> np.ndarray:
    """Means of each task's resampled rows, (tasks, resamples, columns)."""
    rng = np.random.default_rng(seed)
    means = []
    for rows in strata:
        # How often each row is drawn: the mean is then a product of matrices.
        counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=NUM_RESAMPLES)
        # About the first row, so that equal rows have a mean without rounding.
        means.append(rows[0] + counts @ (rows - rows[0]) / len(rows))
    return np.stack(means)


def _percentiles(values: Float[np.ndarray, " resamples"]) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def mean(scores: Any) -> Any:
    """Over tasks, along axis 0."""
    return np.mean(scores, axis=0)


def median(scores: Any) -> Any:
    """Over tasks, along axis 0."""
    return np.median(scores, axis=0)


def inter_quartile_mean(scores: Any) -> Any:
    """Mean of the middle half of the tasks (Agarwal et al. 2021), along axis 0.

    >>> float(inter_quartile_mean([0.0, 0.4, 0.6, 9.0]))
    0.5
    """
    from scipy.stats import trim_mean

    return trim_mean(scores, TRIMMED, axis=0)


AGGREGATES: Mapping[str, Callable[[Any], Any]] = {
    "mean": mean,
    "median": median,
    "iqm": inter_quartile_mean,
}


def summary(episodes: Mapping[str, Float[np.ndarray, " _"]]) -> dict[str, Any]:
    """Aggregates over tasks with their intervals, and how many tasks reach each threshold.

    Args:
        episodes: each task's normalised episode scores.

    >>> found = summary({"a": np.array([1.0]), "b": np.array([0.5])})
    >>> found["tasks_at_or_above"], found["mean_normalized_score"]
    ({'0.5': 2, '0.8': 1, '1.0': 1}, 0.75)
    """
    if not episodes:
        return {}
    strata = list(episodes.values())
    scores = [float(stratum.mean()) for stratum in strata]
    found: dict[str, Any] = {"num_tasks": len(scores)}
    for name, aggregate in AGGREGATES.items():
        found[f"{name}_normalized_score"] = float(aggregate(scores))
        found[f"{name}_ci95"] = list(stratified_interval(strata, aggregate))
    found["min_normalized_score"] = min(scores)
    found["tasks_at_or_above"] = {str(t): sum(v >= t for v in scores) for t in THRESHOLDS}
    return found
