"""From episode returns to normalized scores, with intervals.

A score of 0 is the random policy's mean return and 1 the expert's. Intervals come from resampling
the agent's episodes; the references count as known. It knows nothing of environments or models.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.system.typed_json import from_json

NUM_RESAMPLES = 9999
CONFIDENCE = 0.95
THRESHOLDS = (0.5, 0.8, 1.0)
ROUNDING = 1e-9  # an agent with the very returns of the expert reaches 1.0
TRIMMED = 0.25  # of the tasks at each end: what is left is the inter-quartile range

ON_AGENTS_SEEDS, PUBLISHED = "on the agent's seeds", "published"
# What is read of a report's row; the rest is worked out anew.
ROW_KEYS = (
    "domain", "success", "expert", "expert_is", "random", "references", "jat", "seeds", "failed",
    "length_mean", "max_episode_steps", "returns",
)  # fmt: skip
OWN_KEYS = ("domain", "success", "length_mean", "max_episode_steps", "returns")

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a task's score is measured against: mean returns.

    Attributes:
        expert: the expert's, or the demonstrations' where the task has no expert.
        random: that of uniformly random actions.
        expert_is: "expert" or "demonstrations".
        measured: where it comes from: by whom, on how many episodes, at which seeds.
    """

    expert: float
    random: float
    expert_is: str = "expert"
    measured: str = ON_AGENTS_SEEDS

    def normalized(self, returns: Sequence[float], *, task: str) -> Float[np.ndarray, " episodes"]:
        """Return each return's score.

        Raises:
            ValueError: for a degenerate reference, naming the task.
        """
        scale = {"expert": self.expert, "random": self.random, "task": task}
        return np.array([normalized_score(r, **scale) for r in returns])


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """What one task's evaluation found.

    Attributes:
        seeds, returns: of the agent's episodes.
        reference: what they are measured against; None where there was none to be had.
        length_mean: in timesteps.
        max_episode_steps: no episode is longer.
        success: share of episodes that did not fail; None where the task knows no failure.
        failed: why the episodes at these seeds have no return: their environment crashed twice.
        jat_name, jat: the task's name in JAT and the reference published there, if it compares.
    """

    name: str
    domain: str
    seeds: Sequence[int]
    returns: Sequence[float]
    reference: Reference | None
    length_mean: float
    max_episode_steps: int
    success: float | None = None
    failed: Mapping[int, str] = field(default_factory=dict)
    jat_name: str | None = None
    jat: Reference | None = None

    @property
    def return_mean(self) -> float:
        """Mean return of the agent's episodes."""
        return float(np.mean(self.returns))

    @property
    def has_score(self) -> bool:
        """Whether there is a reference that ranks anything: its expert is better than chance."""
        return self.reference is not None and self.reference.expert > self.reference.random

    @property
    def fault(self) -> str:
        """Why there is no score."""
        if self.reference is None:
            return f"{self.name}: no score: there is no reference to measure the returns against"
        return no_score(self.name, self.reference.expert, self.reference.random)

    def normalized(self) -> Float[np.ndarray, " episodes"]:
        """Return each episode's score.

        Raises:
            ValueError: without a reference or for a degenerate one, naming the task.
        """
        if self.reference is None:
            raise ValueError(self.fault)
        return self.reference.normalized(self.returns, task=self.name)

    @property
    def score(self) -> float | None:
        """Mean normalized score; None where the reference allows none."""
        return float(self.normalized().mean()) if self.has_score else None

    @cached_property
    def ci95(self) -> Interval | None:
        """Interval of the score."""
        return interval(self.normalized()) if self.has_score else None

    @property
    def jat_normalized(self) -> Float[np.ndarray, " episodes"] | None:
        """Each episode's score against JAT's reference; None without one."""
        return None if self.jat is None else self.jat.normalized(self.returns, task=self.name)

    def to_json(self) -> dict[str, Any]:
        """Return a report's row."""
        jat, reference = self.jat_normalized, self.reference
        return {
            "domain": self.domain,
            "return_mean": self.return_mean,
            "return_std": float(np.std(self.returns)),
            "success": self.success,
            "expert": reference and reference.expert,
            "expert_is": reference and reference.expert_is,
            "random": reference and reference.random,
            "references": reference and reference.measured,
            "normalized_score": self.score,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "jat": None if jat is None or self.jat is None else {
                "name": self.jat_name,
                "expert": self.jat.expert,
                "random": self.jat.random,
                "normalized_score": float(jat.mean()),
                "ci95": list(interval(jat)),
            },
            "episodes": len(self.returns),
            "seeds": [min(self.seeds), max(self.seeds)],
            "failed": {str(seed): reason for seed, reason in self.failed.items()},
            "length_mean": self.length_mean,
            "max_episode_steps": self.max_episode_steps,
            "returns": list(self.returns),
        }  # fmt: skip

    @staticmethod
    def from_json(name: str, row: Mapping[str, Any]) -> "TaskScores":
        """Read a report's row.

        Raises:
            ValueError: naming what it lacks.
        """
        if missing := [key for key in ROW_KEYS if key not in row]:
            raise ValueError(f"its task {name} has no {', '.join(missing)}")
        reference, jat = None, from_json(dict[str, Any] | None, row["jat"], "jat") or {}
        if row["references"] is not None:
            keys = ("expert", "random", "expert_is")
            reference = {**{key: row[key] for key in keys}, "measured": row["references"]}
        published = {key: jat.get(key) for key in ("expert", "random")}
        failed = from_json(dict[str, str], row["failed"], "failed")
        found = {
            **{key: row[key] for key in OWN_KEYS},
            "name": name,
            "seeds": _seeds(row, failed),
            "reference": reference,
            "jat_name": jat.get("name"),
            "jat": {**published, "measured": PUBLISHED} if jat else None,
        }
        scores = from_json(TaskScores, found, f"its task {name}")
        return replace(scores, failed={int(seed): reason for seed, reason in failed.items()})


def _seeds(row: Mapping[str, Any], failed: Mapping[str, str]) -> list[int]:
    """Return the seeds of a report's row that have a return."""
    first, last = from_json(tuple[int, int], row["seeds"], "seeds")
    returns = from_json(list[float], row["returns"], "returns")
    if last - first + 1 > len(returns) + len(failed):
        raise ValueError(f"seeds {first} to {last}, but {len(returns)} returns")
    seeds = [seed for seed in range(first, last + 1) if str(seed) not in failed]
    if len(seeds) != len(returns):
        raise ValueError(f"{len(seeds)} seeds, but {len(returns)} returns")
    return seeds


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Aggregates over tasks with their intervals, and how many tasks reach each threshold."""

    num_tasks: int
    mean_normalized_score: float
    mean_ci95: Interval
    median_normalized_score: float
    median_ci95: Interval
    iqm_normalized_score: float
    iqm_ci95: Interval
    min_normalized_score: float
    tasks_at_or_above: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers under their names."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


def normalized_score(episode_return: float, *, expert: float, random: float, task: str) -> float:
    """Return (return - random) / (expert - random).

    Raises:
        ValueError: if the expert is no better than chance, where the score means nothing.

    >>> normalized_score(60.0, expert=110.0, random=10.0, task="cartpole")
    0.5
    """
    if not expert > random:
        raise ValueError(no_score(task, expert, random))
    return (episode_return - random) / (expert - random)


def no_score(task: str, expert: float, random: float) -> str:
    """Say why an expert that is no better than chance allows no score."""
    return (
        f"{task}: the expert's mean return {expert:g} is not above the random policy's "
        f"{random:g}: there is no normalized score"
    )


def interval(scores: Sequence[float] | np.ndarray) -> Interval:
    """Return the 95 % percentile bootstrap interval of the mean over episodes.

    Few episodes give one that is too narrow: it holds the mean in 79 % of the cases for 3 of them,
    in 93 % for 10 (normal scores). One alone says nothing: its interval is its own score.

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
    """Return the 95 % interval of an aggregate; every task's episodes are resampled apart.

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
    """Return the 95 % interval of the second column's aggregate less the first's.

    Rows are pairs and stay so; every task's are resampled apart.
    """
    resampled = _resampled_means(strata, seed)
    return _percentiles(aggregate(resampled[..., 1]) - aggregate(resampled[..., 0]))


def _resampled_means(strata: Sequence[Float[np.ndarray, "_ c"]], seed: int) -> np.ndarray:
    """Return means of each task's resampled rows, (tasks, resamples, columns)."""
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
    """Return the mean over tasks, along axis 0."""
    return np.mean(scores, axis=0)


def median(scores: Any) -> Any:
    """Return the median over tasks, along axis 0."""
    return np.median(scores, axis=0)


def inter_quartile_mean(scores: Any) -> Any:
    """Return the mean of the middle half of the tasks, along axis 0.

    Of task means: Agarwal et al. (2021) trim single runs, of which there is one here.

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


def summary(episodes: Iterable[Float[np.ndarray, " _"]]) -> Summary | None:
    """Aggregate tasks, given each one's normalized episode scores; None without any.

    >>> found = summary([np.array([1.0]), np.array([0.5])])
    >>> found.tasks_at_or_above, found.mean_normalized_score
    ({'0.5': 2, '0.8': 1, '1.0': 1}, 0.75)
    """
    strata = list(episodes)
    if not strata:
        return None
    scores = [float(stratum.mean()) for stratum in strata]
    found: dict[str, Any] = {}
    for name, aggregate in AGGREGATES.items():
        found[f"{name}_normalized_score"] = float(aggregate(scores))
        found[f"{name}_ci95"] = stratified_interval(strata, aggregate)
    return Summary(
        num_tasks=len(scores),
        **found,
        min_normalized_score=min(scores),
        tasks_at_or_above={str(t): sum(v >= t - ROUNDING for v in scores) for t in THRESHOLDS},
    )
