"""The agent in its environments: episodes of one task or of many alike that step together.

One batched policy acts in as many environments as run at once; when an episode ends, the next one
takes its row. What an environment raises costs its own episode alone, which is tried once more in a
fresh environment. Everything depends on the seeds alone.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Agent
from mugato.model.devices import find_device
from mugato.system.errors import describe
from mugato.system.workers import JobProgress
from mugato.tasks.conform import conform
from mugato.tasks.environment import close, reset, step
from mugato.tasks.task import Task

# Environments that step together, by device. On a processor more gain nothing, and some take a
# second each to make.
MAX_ENVS = {"cpu": 16, "cuda": 64, "mps": 64}
TRIES = 2


@dataclass(frozen=True, kw_only=True)
class EpisodeRequest:
    """One episode to play."""

    task: Task
    seed: int


@dataclass(frozen=True, kw_only=True)
class PlayedEpisode:
    """One episode of the agent, summed up."""

    task: str
    seed: int
    episode_return: float
    length: int


@dataclass(frozen=True, kw_only=True)
class FailedEpisode:
    """An episode whose environment crashed each time it was tried."""

    task: str
    seed: int
    error: str


EpisodeResult = PlayedEpisode | FailedEpisode


def play_episodes(
    agent: Agent,
    requests: Sequence[EpisodeRequest],
    *,
    inference: InferenceConfig = InferenceConfig(),
    max_envs: int | None = None,
    progress: JobProgress = JobProgress(),
) -> list[EpisodeResult]:
    """Play all episodes, some at a time; results come in the order given.

    Args:
        max_envs: how many step together; what suits the device if None.

    Raises:
        ValueError: if the tasks' specs differ, so that one policy cannot act in all of them.
    """
    names = list(dict.fromkeys(a.task.name for a in requests))
    if other := [name for name in names if agent.task(name) != agent.task(names[0])]:
        raise ValueError(f"{names[0]} and {other[0]} cannot step together: their specs differ")
    results: dict[int, EpisodeResult] = {}
    with _Environments() as environments:
        for _ in range(TRIES):
            waiting = deque(
                _Row(i, request, environments)
                for i, request in enumerate(requests)
                if not isinstance(results.get(i), PlayedEpisode)
            )
            together = max_envs or most_envs(inference)
            for row in _play(agent, waiting, inference, together, progress) if waiting else ():
                results[row.place] = row.result()
                done = sum(isinstance(r, PlayedEpisode) for r in results.values())
                progress(done, len(requests))
    return [results[i] for i in range(len(requests))]


def most_envs(inference: InferenceConfig) -> int:
    """Return how many environments step together where an agent computes."""
    return MAX_ENVS[find_device(inference.device).type]


class _Environments:
    """Environments that are kept for the next episode of their task."""

    def __init__(self) -> None:
        self._idle: dict[str, list[gymnasium.Env]] = defaultdict(list)

    def __enter__(self) -> "_Environments":
        return self

    def __exit__(self, *error: object) -> None:
        for env in (env for envs in self._idle.values() for env in envs):
            close(env)

    def take(self, task: Task) -> gymnasium.Env:
        return self._idle[task.name].pop() if self._idle[task.name] else task.make_env()

    def give_back(self, task: Task, env: gymnasium.Env) -> None:
        self._idle[task.name].append(env)


class _Row:
    """One episode in the batch; whatever its environment raises ends it and is remembered."""

    def __init__(self, place: int, request: EpisodeRequest, environments: _Environments) -> None:
        self.place, self.task, self.seed = place, request.task, request.seed
        self._environments = environments
        self._env: gymnasium.Env | None = None
        self.observation: Any = None
        self.episode_return, self.length = 0.0, 0
        self.over, self.error = False, ""

    def start(self) -> None:
        with self._failing():
            self._env = self._environments.take(self.task)
            self.observation = reset(self._env, seed=self.seed)

    def step(self, action: Any) -> None:
        assert self._env is not None
        with self._failing():
            action = conform(self._env.action_space, action, "the agent's action")
            self.observation, reward, terminated, truncated = step(
                self._env, action, timestep=self.length
            )
            self.episode_return += reward
            self.length += 1
            self.over = terminated or truncated or self.length == self.task.max_episode_steps
            if self.over:
                self._environments.give_back(self.task, self._env)

    def check_observation(self) -> None:
        """Fail if the observation is not one of the environment's own."""
        assert self._env is not None
        with self._failing():
            conform(self._env.observation_space, self.observation, "the observation")

    def result(self) -> EpisodeResult:
        if self.error:
            return FailedEpisode(task=self.task.name, seed=self.seed, error=self.error)
        return PlayedEpisode(
            task=self.task.name,
            seed=self.seed,
            episode_return=self.episode_return,
            length=self.length,
        )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # environments raise what they like
            self.over, self.error = True, describe(error, expected=(ValueError,))
            if self._env is not None:
                close(self._env)


def _play(
    agent: Agent,
    waiting: deque[_Row],
    inference: InferenceConfig,
    max_envs: int,
    progress: JobProgress,
) -> Iterator[_Row]:
    """Let rows step together, the next one in the place of each that is over; yield those."""
    running = [waiting.popleft() for _ in range(min(max_envs, len(waiting)))]
    name = running[0].task.name
    policy = BatchPolicy(agent, task=name, num_rows=len(running), inference=inference)
    _start(policy, dict(enumerate(running)), inference, progress)
    while running:
        if over := [i for i, row in enumerate(running) if row.over]:
            yield from (running[i] for i in over)
            fresh = {i: waiting.popleft() for i in over[: len(waiting)]}
            for i, row in fresh.items():
                running[i] = row
            policy.reset([i in fresh for i in range(len(running))])
            _start(policy, fresh, inference, progress)
            kept = [i for i in range(len(running)) if i in fresh or i not in over]
            policy.select_rows(kept)
            running = [running[i] for i in kept]
        else:
            _step(policy, running, progress)


def _start(
    policy: BatchPolicy, rows: Mapping[int, _Row], inference: InferenceConfig, progress: JobProgress
) -> None:
    """Begin the episodes; each draws from its own seed."""
    for i, row in rows.items():
        policy.seed_row(i, inference.seed + row.seed)
        progress.at(row.place)
        row.start()


def _step(policy: BatchPolicy, rows: Sequence[_Row], progress: JobProgress) -> None:
    progress.at(None)
    try:
        actions = policy.select_actions([row.observation for row in rows])
    except ValueError:
        for row in rows:
            row.check_observation()
        if not any(row.over for row in rows):
            raise  # no environment is to blame
        return
    for row, action in zip(rows, actions, strict=True):
        progress.at(row.place)
        row.step(action)
