"""Shares of tasks found by playing: more of the tokens for what an agent plays badly.

Exponentiated gradient, as in group DRO (Sagawa et al. 2020) and DoReMi (Xie et al. 2023), with what
is missing to the expert's return in the place of a loss: losses of tasks do not compare. The scores
are those of the seeds for tuning, so that nothing is chosen by what reports are about.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mugato.agent import shipped_agent
from mugato.data.config import DatasetConfig
from mugato.evaluation.references import tabled_reference
from mugato.evaluation.tuning import REPORT
from mugato.system.typed_json import from_json, read_json
from mugato.tasks.registry import TASKS
from mugato.tasks.task import TUNING_SEEDS

RATE = 1.5  # a task played at random gains e^1.5 = 4.5 times on one played as by the expert


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one task gets.

    Attributes:
        score: normalized, of the agent that was looked at: 0 is a random policy, 1 the expert.
        before, after: its share of all tokens.
    """

    task: str
    score: float
    before: float
    after: float


def measured_shares(
    datasets: Sequence[DatasetConfig], run: str | Path, *, rate: float = RATE
) -> list[Share]:
    """Weigh tasks anew by how badly the agent in a run's folder plays them, the worst first.

    What the tasks have together stays what it was, and so does the share of each source.

    Args:
        datasets: what is to be trained on; its weights are what is changed.
        run: folder of an agent that was tuned, or the name of one that is shipped.

    Raises:
        ValueError: the agent was not tuned, or on none of these tasks that have references.
    """
    scores = tuning_scores(run)
    total = sum(dataset.weight for dataset in datasets)
    scored = {d.name: d.weight / total for d in datasets if d.name in scores and d.weight > 0}
    if not scored:
        raise ValueError(f"{run} tells nothing of the tasks that are to be trained on")
    raised = {
        name: share * math.exp(rate * (1 - min(1.0, max(0.0, scores[name]))))
        for name, share in scored.items()
    }
    kept = sum(scored.values()) / sum(raised.values())
    found = [
        Share(task=name, score=scores[name], before=share, after=kept * raised[name])
        for name, share in scored.items()
    ]
    return sorted(found, key=lambda share: share.score)


def with_shares(
    datasets: Sequence[DatasetConfig], shares: Sequence[Share]
) -> tuple[DatasetConfig, ...]:
    """Return the data sets with these shares; those that are not named keep theirs."""
    total = sum(dataset.weight for dataset in datasets)
    after = {share.task: share.after for share in shares}
    return tuple(replace(d, weight=after.get(d.name, d.weight / total)) for d in datasets)


def tuning_scores(run: str | Path) -> dict[str, float]:
    """Return the normalized score of each task's best way of acting, on the seeds for tuning.

    Tasks without a reference at hand, or that could not be played, are left out.

    Raises:
        ValueError: if the agent was not tuned, or its notes are damaged.
    """
    path = Path(shipped_agent(run) or run) / REPORT
    if not path.is_file():
        raise ValueError(f"{run} was not tuned: there is no {REPORT} in it (`mugato tune {run}`)")
    report = from_json(dict[str, Any], read_json(path), str(path))
    ways = from_json(Mapping[str, list[dict[str, Any]]], report.get("tasks"), f"{path}: tasks")
    found = {}
    for name, played in ways.items():
        returns = [
            from_json(list[float], way.get("returns"), f"{path}: {name}: returns") for way in played
        ]
        means = [fmean(some) for some in returns if some]
        reference = tabled_reference(TASKS[name], TUNING_SEEDS) if name in TASKS else None
        if means and reference is not None and reference.expert > reference.random:
            found[name] = float(reference.normalized([max(means)], task=name)[0])
    return found
