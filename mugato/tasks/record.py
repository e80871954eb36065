"""Record an expert's demonstrations of a task as a Minari data set.

Episodes are in the order of their seeds and depend on nothing else, so that the same call writes
the same data whatever the number of workers. Seeds at which the expert fails are dropped, counted
and replaced by the following ones. The data set appears when it is complete, or not at all.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np

from mugato.data.minari_source import complete_dataset_id, dataset_folder, episode_of
from mugato.episode import validate
from mugato.spec import spec_of
from mugato.tasks.demonstrate import Demonstration, Dropped
from mugato.tasks.minari_file import MinariFile, check_may_write, new_minari_file
from mugato.tasks.rollout import perturb
from mugato.tasks.task import DEMONSTRATION_SEEDS, Task
from mugato.tasks.workers import endless_demonstrations

Progress = Callable[[int, int], None]  # called after each episode with (kept, dropped)

# Recording gives up when this many more seeds have failed than succeeded.
MAX_EXCESS_FAILURES = 20


@dataclass(frozen=True, kw_only=True)
class RecordReport:
    """What was recorded.

    Attributes:
        seeds_tried: how many seeds it took, from the first one on.
        dropped: seed -> why its episode is no demonstration.
        returns: episode returns, under action noise if there was any.
    """

    dataset_id: str
    folder: str
    episodes: int
    timesteps: int
    seeds_tried: int
    dropped: dict[int, str]
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
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RecordReport:
    """Write `episodes` demonstrations to a Minari data set.

    Args:
        episodes, action_noise: the task's own where None.
        dataset_id: a Minari id, "-v0" is added where it has no version; the task's own where None.
        workers: processes; with 1 everything happens in this one. More need a main module that can
            be imported (`if __name__ == "__main__":`), as ever with spawned processes.
        keep_failures: keep episodes whose return is a failure; errors are always dropped.
        progress: called in this process after each episode with (kept, dropped).

    Raises:
        ValueError: no expert, bad arguments, an existing data set without `overwrite`, an action or
            observation that does not fit its space, or an expert that mostly fails.
        ImportError: a package of the task's domain is missing.
    """
    started = time.perf_counter()
    task = _with_overrides(task, episodes, action_noise)
    dataset_id = complete_dataset_id(dataset_id or task.dataset_id)
    _check(task, workers, first_seed)
    check_may_write(dataset_id, overwrite=overwrite)
    tally = _Tally(task=task, progress=progress)
    with (
        closing(task.make_env()) as env,
        new_minari_file(dataset_id, env, overwrite=overwrite, metadata=tally.metadata) as file,
        endless_demonstrations(
            task, env, workers=workers, first_seed=first_seed, keep_failures=keep_failures
        ) as outcomes,
    ):
        tally.write(outcomes, file, env)
    return tally.report(dataset_id, seconds=time.perf_counter() - started)


@dataclass(kw_only=True)
class _Tally:
    """What came of the seeds so far."""

    task: Task
    progress: Progress | None
    returns: list[float] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    timesteps: int = 0

    def write(
        self, outcomes: Iterator[Demonstration | Dropped], file: MinariFile, env: gymnasium.Env
    ) -> None:
        """Keep demonstrations until there are enough."""
        spec = spec_of(env.observation_space, env.action_space)
        while len(self.returns) < self.task.episodes:
            match next(outcomes):
                case Dropped() as outcome:
                    self._drop(outcome)
                case Demonstration() as outcome:
                    name = f"{self.task.name}, seed {outcome.seed}"
                    validate(episode_of(outcome, spec, name=name), spec)
                    file.append(outcome)
                    self.returns.append(float(outcome.rewards.sum()))
                    self.timesteps += len(outcome.rewards)
            if self.progress is not None:
                self.progress(len(self.returns), len(self.dropped))

    def report(self, dataset_id: str, *, seconds: float) -> RecordReport:
        return RecordReport(
            dataset_id=dataset_id,
            folder=str(dataset_folder(dataset_id)),
            episodes=len(self.returns),
            timesteps=self.timesteps,
            seeds_tried=len(self.returns) + len(self.dropped),
            dropped=self.dropped,
            returns=self.returns,
            seconds=seconds,
        )

    def metadata(self) -> dict[str, Any]:
        """What Minari keeps beside its own keys."""
        return {
            "algorithm_name": f"expert of {self.task.name}",
            "description": f"Demonstrations of {self.task.name}, recorded by mugato.",
            "mugato": {
                "task": self.task.name,
                "domain": self.task.domain,
                "action_noise": self.task.action_noise,
                "dropped": {str(seed): reason for seed, reason in self.dropped.items()},
                "return_mean": sum(self.returns) / len(self.returns),
                "return_min": min(self.returns),
                "return_max": max(self.returns),
            },
        }

    def _drop(self, outcome: Dropped) -> None:
        self.dropped[outcome.seed] = outcome.reason
        if len(self.dropped) >= len(self.returns) + MAX_EXCESS_FAILURES:
            raise ValueError(
                f"{self.task.name}: the expert failed at {len(self.dropped)} of "
                f"{len(self.dropped) + len(self.returns)} seeds, so nothing was recorded; "
                f"the last, seed {outcome.seed}: {outcome.reason}"
            )


def _with_overrides(task: Task, episodes: int | None, action_noise: float | None) -> Task:
    return replace(
        task,
        episodes=task.episodes if episodes is None else episodes,
        action_noise=task.action_noise if action_noise is None else action_noise,
    )


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
    if task.action_noise:  # refused here, or every episode would seem to be the expert's failure
        with closing(task.make_env()) as env:
            action = env.action_space.sample()
            perturb(env.action_space, action, task.action_noise, np.random.default_rng(0))
