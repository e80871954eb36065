"""Record an expert's demonstrations of a task as a Minari data set.

Episodes are in the order of their seeds and depend on nothing else, so that the same call writes
the same data whatever the number of workers. Seeds at which the expert fails are dropped, counted
and replaced by the following ones. The data set appears when it is complete; until then what came
of each seed lies in a store beside it, with which the next call goes on.
"""

import operator
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from minari.serialization import serialize_space

from mugato.data.formats.minari.read import complete_dataset_id, dataset_folder
from mugato.recording.demonstrate import (
    AcceptanceCriteria,
    Demonstration,
    RejectedEpisode,
    endless_demonstrations,
)
from mugato.recording.store import (
    DemonstrationHeader,
    RecordingStore,
    check_may_write,
    finish_recording,
    unfinished_recording,
)
from mugato.tasks.environment import opened
from mugato.tasks.references import reference
from mugato.tasks.registry import get_task
from mugato.tasks.rollout import perturb
from mugato.tasks.task import DEMONSTRATION_SEEDS, Task

OnProgress = Callable[[int, int], None]  # called after each episode with (kept, dropped)

# Recording gives up when this many more seeds have failed than succeeded.
MAX_EXCESS_FAILURES = 20


@dataclass(frozen=True, kw_only=True)
class RecordReport:
    """What was recorded.

    Attributes:
        seeds_tried: how many seeds it took, from the first one on.
        dropped: seed -> why its episode is not a demonstration.
        dropped_by_cause: what kind of reason -> for how many seeds.
        cut: seed -> why its episode, which was kept, ends before its time.
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
    cut: dict[int, str]
    continued: int
    returns: list[float] = field(repr=False)
    seconds: float

    @property
    def return_mean(self) -> float:
        return sum(self.returns) / len(self.returns)


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """How to record demonstrations.

    Attributes:
        episodes: demonstrations; the task's own number if None.
        dataset: Minari id to write to, "-v0" is added where it has no version; the task's own if
            None.
        workers: processes; with 1 everything happens in this one. More need a main module that can
            be imported (`if __name__ == "__main__":`), as ever with spawned processes.
        first_seed: first episode seed. Keep below 1,000,000: tuning's seeds begin there.
        action_noise: share of executed actions that stray from the expert's, which stay recorded;
            the task's own if None.
        keep_failures: keep episodes in which the expert failed; errors are always dropped.
        keep_above: keep episodes above this share of the expert's mean return, where 0 is the mean
            return of random actions; the paper keeps those above 0.8 (Reed et al. 2022, §3.1).
        jpeg: store pictures as lossy JPEG: smaller, but not what the expert saw.
        overwrite: begin anew, and replace a data set that exists.
    """

    episodes: int | None = None
    dataset: str | None = None
    workers: int = 1
    first_seed: int = 0
    action_noise: float | None = None
    keep_failures: bool = False
    keep_above: float | None = None
    jpeg: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("episodes", "workers", "first_seed"):
            value = getattr(self, name)
            if value is not None:
                try:
                    object.__setattr__(self, name, operator.index(value))
                except TypeError:
                    raise ValueError(f"{name} must be an integer, got {value!r}") from None


def record(
    task: Task | str,
    config: RecordConfig = RecordConfig(),
    *,
    on_progress: OnProgress | None = None,
) -> RecordReport:
    """Write demonstrations of a task to a Minari data set, or finish what was begun.

    Args:
        task: one of our tasks by name, or a task of your own.
        on_progress: called in this process after each episode with (kept, dropped).

    Raises:
        ValueError: no expert, bad arguments, an existing data set without `overwrite`, one that is
            unfinished with other settings, an action that does not fit its space, an observation
            of another shape or type or with NaN, or an expert that mostly fails.
        ImportError: a package of the task's domain is missing.
    """
    started = time.perf_counter()
    task = _with_overrides(get_task(task) if isinstance(task, str) else task, config)
    dataset_id = complete_dataset_id(config.dataset or task.dataset_id)
    _check(task, config)
    check_may_write(dataset_id, overwrite=config.overwrite)
    tally = Tally(task=task, on_progress=on_progress)
    with opened(task.make_env) as env:
        continued = _record_in(env, task, dataset_id, config, tally)
    seconds = time.perf_counter() - started
    return tally.report(dataset_id, continued=continued, seconds=seconds)


def _record_in(
    env: gymnasium.Env, task: Task, dataset_id: str, config: RecordConfig, tally: "Tally"
) -> int:
    """Record until there are enough; return how many seeds an earlier call had tried."""
    _check_noise(task, env)
    criteria = _criteria(task, config)
    settings = {**recording_settings(task, env, config.first_seed), **vars(criteria)}
    with unfinished_recording(dataset_id, settings, overwrite=config.overwrite) as store:
        continued = tally.take_over(store)
        if not tally.complete:
            first_seed = config.first_seed + continued
            with endless_demonstrations(
                task, env, criteria, workers=config.workers, first_seed=first_seed
            ) as outcomes:
                tally.record(outcomes, store)
        metadata = tally.metadata(
            "Demonstrations", action_noise=task.action_noise, keep_above=config.keep_above
        )
        finish_recording(store, dataset_id, env, episodes=task.episodes, **metadata)
    return continued


@dataclass(kw_only=True)
class Tally:
    """What came of the seeds so far.

    Attributes:
        task: what is recorded, and how many episodes of it.
        cut: seed -> why its episode, which was kept, ends before its time.
    """

    task: Task
    on_progress: OnProgress | None
    returns: list[float] = field(default_factory=list)
    dropped: list[RejectedEpisode] = field(default_factory=list)
    cut: dict[int, str] = field(default_factory=dict)
    timesteps: int = 0

    @property
    def complete(self) -> bool:
        return len(self.returns) == self.task.episodes

    def take_over(self, store: RecordingStore) -> int:
        """Count what an earlier call recorded, as far as it is wanted; return how many seeds."""
        taken = 0
        for outcome in store.outcomes:
            if self.complete:
                break
            self._count(outcome)
            taken += 1
        if taken:
            self._show()
        return taken

    def record(
        self, outcomes: Iterable[Demonstration | RejectedEpisode], store: RecordingStore
    ) -> None:
        """Keep demonstrations until there are enough."""
        for outcome in outcomes:
            store.append(outcome)
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
            cut=self.cut,
            returns=self.returns,
            seconds=seconds,
        )

    def metadata(self, what: str, **own: Any) -> dict[str, Any]:
        """Return what Minari is to keep beside its own keys; `what` was recorded."""
        return {
            "algorithm_name": f"expert of {self.task.name}",
            "description": f"{what} of {self.task.name}, recorded by mugato.",
            "mugato": {
                "task": self.task.name,
                "domain": self.task.domain,
                **own,
                "dropped": {str(outcome.seed): outcome.reason for outcome in self.dropped},
                "return_mean": sum(self.returns) / len(self.returns),
                "return_min": min(self.returns),
                "return_max": max(self.returns),
            },
        }

    def _count(self, outcome: Demonstration | DemonstrationHeader | RejectedEpisode) -> None:
        if not isinstance(outcome, RejectedEpisode):
            self.returns.append(outcome.episode_return)
            self.timesteps += outcome.timesteps
            if outcome.cut:
                self.cut[outcome.seed] = outcome.cut
            return
        self.dropped.append(outcome)
        if len(self.dropped) >= len(self.returns) + MAX_EXCESS_FAILURES:
            raise ValueError(
                f"{self.task.name}: no demonstration came of {len(self.dropped)} of "
                f"{len(self.dropped) + len(self.returns)} seeds, so recording stops; "
                f"the last, seed {outcome.seed}: {outcome.reason}"
            )

    def _show(self) -> None:
        if self.on_progress is not None:
            self.on_progress(len(self.returns), len(self.dropped))


def _with_overrides(task: Task, config: RecordConfig) -> Task:
    return replace(
        task,
        episodes=task.episodes if config.episodes is None else config.episodes,
        action_noise=task.action_noise if config.action_noise is None else config.action_noise,
    )


def _criteria(task: Task, config: RecordConfig) -> AcceptanceCriteria:
    min_return = None if config.keep_above is None else _min_return(task, config.keep_above)
    return AcceptanceCriteria(
        keep_failures=config.keep_failures, min_return=min_return, jpeg=config.jpeg
    )


def _min_return(task: Task, keep_above: float) -> float:
    """Return what lies at a share of the way from random actions to the expert, in any signs."""
    if not 0 <= keep_above <= 1:
        raise ValueError(f"keep_above is a share in [0, 1], got {keep_above:g}")
    known = reference(task.name)
    if known is None:
        raise ValueError(
            f"{task.name}: no returns of the expert and of random actions are known, so that no "
            f"episodes can be kept above {keep_above:g} of the way"
        )
    return known.random + keep_above * (known.expert - known.random)


def recording_settings(task: Task, env: gymnasium.Env, first_seed: int) -> dict[str, Any]:
    """Return what must be the same for a recording to be continued."""
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


def _check(task: Task, config: RecordConfig) -> None:
    workers, first_seed = config.workers, config.first_seed
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
