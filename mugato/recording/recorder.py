"""Record an expert's demonstrations of a task as a Minari data set.

Episodes are in the order of their seeds and depend on nothing else, so that the same call writes
the same data whatever the number of workers. Seeds at which the expert fails are dropped, counted
and replaced by the following ones. The data set appears when it is complete; until then what came
of each seed lies in a journal beside it, with which the next call goes on.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from minari.serialization import serialize_space

from mugato.data.formats.minari.read import complete_dataset_id, dataset_folder
from mugato.data.formats.minari.write import check_may_write, finish_recording, unfinished_recording
from mugato.recording.demonstrate import Demonstration, Dropped, Terms
from mugato.recording.journal import Journal, Kept
from mugato.recording.workers import endless_demonstrations
from mugato.tasks.references import reference
from mugato.tasks.rollout import perturb
from mugato.tasks.task import DEMONSTRATION_SEEDS, Task

Progress = Callable[[int, int], None]  # called after each episode with (kept, dropped)

# Recording gives up when this many more seeds have failed than succeeded.
MAX_EXCESS_FAILURES = 20


@dataclass(frozen=True, kw_only=True)
class RecordReport:
    """What was recorded.

    Attributes:
        seeds_tried: how many seeds it took, from the first one on.
        dropped: seed -> why its episode is no demonstration.
        dropped_by_cause: what kind of reason -> for how many seeds.
        continued: how many of the seeds were tried by an earlier call, which did not finish.
        returns: episode returns, under action noise if there was any.
        seconds: of this call.
    """

    dataset_id: str
    folder: str
    episodes: int
    timesteps: int
    size_bytes: int
    seeds_tried: int
    dropped: dict[int, str]
    dropped_by_cause: dict[str, int]
    continued: int
    returns: list[float] = field(repr=False)
    seconds: float

    @property
    def return_mean(self) -> float:
        return sum(self.returns) / len(self.returns)


def record(
    task: Task,
    *,
    episodes: int | None = None,
    dataset_id: str | None = None,
    workers: int = 1,
    first_seed: int = 0,
    action_noise: float | None = None,
    keep_failures: bool = False,
    keep_above: float | None = None,
    jpeg: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RecordReport:
    """Write `episodes` demonstrations to a Minari data set, or finish what was begun.

    Args:
        episodes, action_noise: the task's own where None.
        dataset_id: a Minari id, "-v0" is added where it has no version; the task's own where None.
        workers: processes; with 1 everything happens in this one. More need a main module that can
            be imported (`if __name__ == "__main__":`), as ever with spawned processes.
        keep_failures: keep episodes whose return is a failure; errors are always dropped.
        keep_above: drop episodes below this share of the way from the random to the expert's mean
            return; the paper keeps those above 0.8 (Reed et al. 2022, §3.1).
        jpeg: store pictures as lossy JPEG.
        overwrite: begin anew, and replace a data set that exists.
        progress: called in this process after each episode with (kept, dropped).

    Raises:
        ValueError: no expert, bad arguments, an existing data set without `overwrite`, one that is
            unfinished with other settings, an action or observation that does not fit its space, or
            an expert that mostly fails.
        ImportError: a package of the task's domain is missing.
    """
    started = time.perf_counter()
    task = _with_overrides(task, episodes, action_noise)
    dataset_id = complete_dataset_id(dataset_id or task.dataset_id)
    _check(task, workers, first_seed)
    min_return = None if keep_above is None else _min_return(task, keep_above)
    terms = Terms(keep_failures=keep_failures, min_return=min_return, jpeg=jpeg)
    check_may_write(dataset_id, overwrite=overwrite)
    tally = _Tally(task=task, progress=progress)
    with closing(task.make_env()) as env:
        _check_noise(task, env)
        settings = {**_settings(task, env, first_seed), **vars(terms)}
        with unfinished_recording(dataset_id, settings, overwrite=overwrite) as journal:
            continued = tally.take_over(journal)
            if not tally.complete:
                with endless_demonstrations(
                    task, env, terms, workers=workers, first_seed=first_seed + continued
                ) as outcomes:
                    tally.record(outcomes, journal)
            finish_recording(
                journal, dataset_id, env, episodes=task.episodes, **tally.metadata(keep_above)
            )
    seconds = time.perf_counter() - started
    return tally.report(dataset_id, continued=continued, seconds=seconds)


@dataclass(kw_only=True)
class _Tally:
    """What came of the seeds so far."""

    task: Task
    progress: Progress | None
    returns: list[float] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    timesteps: int = 0

    @property
    def complete(self) -> bool:
        return len(self.returns) == self.task.episodes

    def take_over(self, journal: Journal) -> int:
        """Count what an earlier call recorded, as far as it is wanted; return how many seeds."""
        taken = 0
        for outcome in journal.outcomes:
            if self.complete:
                break
            self._count(outcome)
            taken += 1
        if taken:
            self._show()
        return taken

    def record(self, outcomes: Iterable[Demonstration | Dropped], journal: Journal) -> None:
        """Keep demonstrations until there are enough."""
        for outcome in outcomes:
            journal.append(outcome)
            self._count(outcome)
            self._show()
            if self.complete:
                return

    def report(self, dataset_id: str, *, continued: int, seconds: float) -> RecordReport:
        folder = dataset_folder(dataset_id)
        return RecordReport(
            dataset_id=dataset_id,
            folder=str(folder),
            episodes=len(self.returns),
            timesteps=self.timesteps,
            size_bytes=sum(file.stat().st_size for file in folder.rglob("*.*")),
            seeds_tried=len(self.returns) + len(self.dropped),
            dropped={outcome.seed: outcome.reason for outcome in self.dropped},
            dropped_by_cause=dict(Counter(outcome.cause for outcome in self.dropped)),
            continued=continued,
            returns=self.returns,
            seconds=seconds,
        )

    def metadata(self, keep_above: float | None) -> dict[str, Any]:
        """What Minari keeps beside its own keys."""
        return {
            "algorithm_name": f"expert of {self.task.name}",
            "description": f"Demonstrations of {self.task.name}, recorded by mugato.",
            "mugato": {
                "task": self.task.name,
                "domain": self.task.domain,
                "action_noise": self.task.action_noise,
                "keep_above": keep_above,
                "dropped": {str(outcome.seed): outcome.reason for outcome in self.dropped},
                "return_mean": sum(self.returns) / len(self.returns),
                "return_min": min(self.returns),
                "return_max": max(self.returns),
            },
        }

    def _count(self, outcome: Demonstration | Kept | Dropped) -> None:
        if not isinstance(outcome, Dropped):
            self.returns.append(outcome.episode_return)
            self.timesteps += outcome.timesteps
            return
        self.dropped.append(outcome)
        if len(self.dropped) >= len(self.returns) + MAX_EXCESS_FAILURES:
            raise ValueError(
                f"{self.task.name}: the expert failed at {len(self.dropped)} of "
                f"{len(self.dropped) + len(self.returns)} seeds, so recording stops; "
                f"the last, seed {outcome.seed}: {outcome.reason}"
            )

    def _show(self) -> None:
        if self.progress is not None:
            self.progress(len(self.returns), len(self.dropped))


def _with_overrides(task: Task, episodes: int | None, action_noise: float | None) -> Task:
    return replace(
        task,
        episodes=task.episodes if episodes is None else episodes,
        action_noise=task.action_noise if action_noise is None else action_noise,
    )


def _min_return(task: Task, keep_above: float) -> float:
    """The return at a share of the way from random actions to the expert, whatever their signs."""
    if not 0 <= keep_above <= 1:
        raise ValueError(f"keep_above is a share in [0, 1], got {keep_above:g}")
    known = reference(task.name)
    if known is None:
        raise ValueError(
            f"{task.name}: no returns of the expert and of random actions are known, of which "
            f"episodes could be kept above {keep_above:g}"
        )
    return known.random + keep_above * (known.expert - known.random)


def _settings(task: Task, env: gymnasium.Env, first_seed: int) -> dict[str, Any]:
    """What must be the same for a recording to be continued."""
    return {
        "task": task.name,
        "environment": _described(task.make_env),
        "observation_space": serialize_space(env.observation_space),
        "action_space": serialize_space(env.action_space),
        "expert": _described(task.make_expert),
        "max_episode_steps": task.max_episode_steps,
        "failure_return": task.failure_return,
        "action_noise": task.action_noise,
        "first_seed": first_seed,
    }


def _described(value: Any) -> str:
    """Name a function with its fixed arguments, the same in every process."""
    if isinstance(value, partial):
        arguments = ", ".join(map(_described, [*value.args, *value.keywords.values()]))
        return f"{_described(value.func)}({arguments})"
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _check(task: Task, workers: int, first_seed: int) -> None:
    if task.make_expert is None:
        raise ValueError(f"{task.name} has no expert; name one as 'package.module:function'")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not 0 <= first_seed <= DEMONSTRATION_SEEDS.stop - task.episodes:
        raise ValueError(
            f"demonstrations use seeds below {DEMONSTRATION_SEEDS.stop}, but {task.episodes} "
            f"episodes from seed {first_seed} do not fit"
        )


def _check_noise(task: Task, env: gymnasium.Env) -> None:
    """Refuse noise that the actions cannot have: each episode would seem the expert's failure."""
    if task.action_noise:
        action = env.action_space.sample()
        perturb(env.action_space, action, task.action_noise, np.random.default_rng(0))
