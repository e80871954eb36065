"""Two evaluations side by side: what changed, and whether that is significant.

Episodes at the same seed are pairs: the environment began alike, so that only the agents differ.
Scores of both are taken against the first one's references.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.evaluation.results import EvaluationResults, read_results
from mugato.evaluation.scores import AGGREGATES, Interval, TaskScores, stratified_difference


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second's score less the first's.

    Attributes:
        pairs: episodes that both played.
        interval: 95 %, from resampling the pairs.
    """

    first: float
    second: float
    pairs: int
    interval: Interval

    @property
    def change(self) -> float:
        """How much better the second is."""
        return self.second - self.first

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out no change at all."""
        low, high = self.interval
        return low > 0 or high < 0

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {**asdict(self), "change": self.change, "is_significant": self.is_significant}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two evaluations have in common.

    Attributes:
        tasks: every task that both score.
        overall: their aggregates, by the names in `AGGREGATES`.
        remarks: what could not be compared, or not alike.
    """

    first: EvaluationResults
    second: EvaluationResults
    tasks: Mapping[str, Difference]
    overall: Mapping[str, Difference]
    remarks: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return all differences under their names."""
        return {
            "first": str(self.first.run),
            "second": str(self.second.run),
            "tasks": {name: found.to_json() for name, found in self.tasks.items()},
            "overall": {name: found.to_json() for name, found in self.overall.items()},
            "remarks": list(self.remarks),
        }


def compare(
    first: str | Path | EvaluationResults, second: str | Path | EvaluationResults
) -> Comparison:
    """Pair what two evaluated runs played.

    Args:
        first, second: folders of runs, their `report.json`, or results.

    Raises:
        ValueError: no report, or no task with a score and seeds in common.
    """
    one, other = _results(first), _results(second)
    remarks = [*_only_in_one(one, other), *_made_otherwise(one, other)]
    pairs: dict[str, Float[np.ndarray, "pairs 2"]] = {}
    for name in (name for name in one.tasks if name in other.tasks):
        try:
            pairs[name] = _pair(one.tasks[name], other.tasks[name])
        except ValueError as error:
            remarks.append(str(error))
            continue
        if remark := _references_remark(one.tasks[name], other.tasks[name]):
            remarks.append(remark)
    if not pairs:
        raise ValueError(f"nothing to compare: {'; '.join(remarks) or 'no tasks'}")
    return Comparison(
        first=one,
        second=other,
        tasks={name: difference([paired]) for name, paired in pairs.items()},
        overall={kind: difference(list(pairs.values()), kind) for kind in AGGREGATES},
        remarks=remarks,
    )


def _results(run: str | Path | EvaluationResults) -> EvaluationResults:
    return run if isinstance(run, EvaluationResults) else read_results(run)


def _pair(one: TaskScores, other: TaskScores) -> Float[np.ndarray, "pairs 2"]:
    """Return scores at the seeds that both played.

    Raises:
        ValueError: no seeds in common, no reference, or a degenerate one.
    """
    if one.reference is None:
        raise ValueError(one.fault)
    by_seed = [dict(zip(task.seeds, task.returns, strict=True)) for task in (one, other)]
    common = [seed for seed in by_seed[0] if seed in by_seed[1]]
    if not common:
        played = [f"{min(seeds)} to {max(seeds)}" for seeds in by_seed]
        raise ValueError(f"{one.name}: no seeds in common: {', '.join(played)}")
    returns = ([own[seed] for seed in common] for own in by_seed)
    columns = [one.reference.normalized(column, task=one.name) for column in returns]
    return np.stack(columns, axis=1)


def difference(strata: Sequence[Float[np.ndarray, "_ 2"]], kind: str = "mean") -> Difference:
    """Return the difference of an aggregate over tasks, from each task's pairs of scores."""
    aggregate = AGGREGATES[kind]
    first, second = (float(aggregate([s[:, i].mean() for s in strata])) for i in (0, 1))
    return Difference(
        first=first,
        second=second,
        pairs=sum(len(s) for s in strata),
        interval=stratified_difference(strata, aggregate),
    )


def _references_remark(one: TaskScores, other: TaskScores) -> str:
    first, second = one.reference, other.reference
    if first is None or second is None:
        return "" if first is None else f"{one.name}: the second report has no references"
    if np.allclose([first.expert, first.random], [second.expert, second.random]):
        return ""
    return (
        f"{one.name}: the second report's references differ (expert {second.expert:g}, random "
        f"{second.random:g}); both are scored by the first's ({first.expert:g}, "
        f"{first.random:g})"
    )


def _made_otherwise(one: EvaluationResults, other: EvaluationResults) -> Iterator[str]:
    """Name tasks of the same name whose environments are not."""
    for name in (name for name in one.tasks if name in other.tasks):
        said = [
            next((line for line in results.missing if line.startswith(f"{name} is ")), "")
            for results in (one, other)
        ]
        if said[0] != said[1]:
            plain = f"{name} is as it comes"
            yield f"not the same environment: {said[0] or plain}; {said[1] or plain}"


def _only_in_one(one: EvaluationResults, other: EvaluationResults) -> list[str]:
    found = []
    for which, these, those in (("first", one, other), ("second", other, one)):
        if names := [name for name in these.tasks if name not in those.tasks]:
            found.append(f"only in the {which}: {', '.join(names)}")
    return found
