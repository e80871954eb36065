"""Two reports side by side: what changed, and how sure that is.

Episodes at the same seed are pairs: the environment began alike, so that only the agents differ.
Scores of both are taken against the first report's references.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.evaluation.results import REPORT, seeds_of
from mugato.evaluation.scores import (
    AGGREGATES,
    Interval,
    Reference,
    stratified_difference,
)

# Of each task's row.
COMPARED_KEYS = ("domain", "expert", "random", "seeds", "returns")


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
        return self.second - self.first

    @property
    def is_significant(self) -> bool:
        """Whether the interval leaves out no change at all."""
        low, high = self.interval
        return low > 0 or high < 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every task that both reports score, their aggregates, and what could not be compared."""

    tasks: Mapping[str, Difference]
    domains: Mapping[str, str]
    overall: Mapping[str, Difference]
    remarks: Sequence[str]


def read_report(run: Path) -> dict[str, Any]:
    """The numbers of a run's report; `run` is its folder, or the file itself.

    Raises:
        ValueError: there is none, or it is not one of ours.
    """
    path = run if run.suffix == ".json" else run / REPORT
    if not path.is_file():
        raise ValueError(f"{path} is not there: run mugato evaluate {run} first")
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no report: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("tasks"), dict):
        raise ValueError(f"{path} is no report: it has no tasks")
    for name, row in data["tasks"].items():
        if missing := [key for key in COMPARED_KEYS if key not in row]:
            raise ValueError(f"{path} is no report: its task {name} has no {', '.join(missing)}")
    return data


def compare(
    first: str | Path | Mapping[str, Any], second: str | Path | Mapping[str, Any]
) -> Comparison:
    """Pair what two evaluated runs played.

    Args:
        first, second: folders of runs, their `report.json`, or what it says.

    Raises:
        ValueError: no report, or no task with a score and seeds in common.
    """
    first, second = _numbers(first), _numbers(second)
    remarks = list(_only_in_one(first["tasks"], second["tasks"]))
    pairs: dict[str, Float[np.ndarray, "pairs 2"]] = {}
    for name in (name for name in first["tasks"] if name in second["tasks"]):
        try:
            paired = _pair(name, first["tasks"][name], second["tasks"][name])
        except ValueError as error:
            remarks.append(str(error))
            continue
        pairs[name] = paired
        if remark := _references_remark(name, first["tasks"][name], second["tasks"][name]):
            remarks.append(remark)
    if not pairs:
        raise ValueError(f"nothing to compare: {'; '.join(remarks) or 'no tasks'}")
    return Comparison(
        tasks={name: difference([paired]) for name, paired in pairs.items()},
        domains={name: first["tasks"][name]["domain"] for name in pairs},
        overall={kind: difference(list(pairs.values()), kind) for kind in AGGREGATES},
        remarks=remarks,
    )


def _numbers(report: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    return report if isinstance(report, Mapping) else read_report(Path(report))


def _pair(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> np.ndarray:
    """Scores at the seeds that both played, (pairs, 2).

    Raises:
        ValueError: no seeds in common, or a degenerate reference.
    """
    by_seed = [dict(zip(seeds_of(r), r["returns"], strict=True)) for r in (one, other)]
    common = [seed for seed in by_seed[0] if seed in by_seed[1]]
    if not common:
        raise ValueError(
            f"{name}: no seeds in common: {one['seeds'][0]} to {one['seeds'][1]}, "
            f"{other['seeds'][0]} to {other['seeds'][1]}"
        )
    reference = Reference(expert=one["expert"], random=one["random"])
    columns = [reference.normalized([r[s] for s in common], task=name) for r in by_seed]
    return np.stack(columns, axis=1)


def difference(strata: Sequence[Float[np.ndarray, "_ 2"]], kind: str = "mean") -> Difference:
    """Of an aggregate over tasks, from each task's pairs of scores."""
    aggregate = AGGREGATES[kind]
    first, second = (float(aggregate([s[:, i].mean() for s in strata])) for i in (0, 1))
    return Difference(
        first=first,
        second=second,
        pairs=sum(len(s) for s in strata),
        interval=stratified_difference(strata, aggregate),
    )


def _references_remark(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if np.allclose([one["expert"], one["random"]], [other["expert"], other["random"]]):
        return ""
    return (
        f"{name}: the second report's references differ (expert {other['expert']:g}, random "
        f"{other['random']:g}); both are scored by the first's ({one['expert']:g}, "
        f"{one['random']:g})"
    )


def _only_in_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    found = []
    for which, these, those in (("first", one, other), ("second", other, one)):
        if names := [name for name in these if name not in those]:
            found.append(f"only in the {which}: {', '.join(names)}")
    return found
