"""Several trainings of one recipe, scored together: what of a score is luck of the training.

One agent's interval comes from its episodes. It says nothing about the next training with another
seed, which may be off by more. Here each training is one draw: Student's interval of the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mugato.evaluation.language import AnswerResults, CaptionResults
from mugato.evaluation.results import EvaluationResults
from mugato.evaluation.scores import AGGREGATES, CONFIDENCE, Interval
from mugato.training.run_folder import fields
from mugato.training.run_info import RunInfo, read_config

OVERALL = "all tasks"
# The recipe is the same whatever these are.
MAY_DIFFER = (
    "run", "seed", "processes", "workers", "log_every", "save_every", "evaluate_every",
    "play_episodes", "shards", "profile", "tracker",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingsScore:
    """One figure of several trainings.

    Attributes:
        values: one of each training that has it, in the order of the runs.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the trainings."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the mean (Student's t); None for a single training."""
        from scipy.stats import t

        n = len(self.values)
        if n < 2:
            return None
        half = t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.std(self.values, ddof=1) / np.sqrt(n)
        return float(self.mean - half), float(self.mean + half)

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {**asdict(self), "mean": self.mean, "ci95": self.interval}


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Figures of several trainings by name, and what makes them less than alike.

    Attributes:
        scores: of all tasks together, of each task, of each source.
        remarks: one line each.
    """

    scores: Mapping[str, TrainingsScore]
    remarks: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        scores = {name: score.to_json() for name, score in self.scores.items()}
        return {"scores": scores, "remarks": list(self.remarks)}


def score_together(results: Sequence[EvaluationResults]) -> Trainings:
    """Put the results of several trainings together.

    A task's score is its mean normalized score; questions count the share answered right, captions
    the share named exactly on held-out pictures, texts their bits per byte.
    """
    found: dict[str, list[float]] = {}
    for one in results:
        for name, value in _figures(one):
            found.setdefault(name, []).append(value)
    return Trainings(
        scores={name: TrainingsScore(values=tuple(values)) for name, values in found.items()},
        remarks=[*_differences(results), *_only_in_some(found, len(results))],
    )


def _figures(results: EvaluationResults) -> Iterator[tuple[str, float]]:
    """Yield an evaluation's figures under the names that all trainings share."""
    if results.summary is not None:
        for kind in AGGREGATES:
            name = f"{OVERALL}, {kind}"
            yield name, getattr(results.summary, f"{kind}_normalized_score")
    for name, task in results.tasks.items():
        if task.score is not None:
            yield name, task.score
    for name, source in results.sources.items():
        match source:
            case AnswerResults():
                yield f"{name}, answered right", source.scores.accuracy
            case CaptionResults():
                yield f"{name}, named exactly", source.held_out.exact_match
            case _:
                yield f"{name}, bits per byte", source.bits_per_byte


def _differences(results: Sequence[EvaluationResults]) -> Iterator[str]:
    """Say what the trainings differ in besides their seed."""
    configs = [
        dict(fields(read_config(one.run))) if RunInfo.read(one.run).datasets is not None else {}
        for one in results
    ]
    names = dict.fromkeys(name for config in configs for name in config)
    for name in (name for name in names if name not in MAY_DIFFER):
        values = [config.get(name) for config in configs]
        if any(value != values[0] for value in values):
            yield f"they differ in {name}: {', '.join(map(str, values))}"
    seeds = [config["seed"] for config in configs if "seed" in config]
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        yield f"trained more than once with seed {', '.join(map(str, twice))}"


def _only_in_some(found: Mapping[str, Sequence[float]], trainings: int) -> Iterator[str]:
    for name, values in found.items():
        if len(values) < trainings:
            yield f"{name}: only {len(values)} of {trainings} trainings have it"
