"""The agent in its environments: many episodes of one task that step together.

One batched policy acts in as many copies of the environment as run at once; rows leave the batch
when their episodes end. Everything depends on the seeds alone.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium

from mugato.agent import Agent
from mugato.data.minari_source import open_minari
from mugato.evaluation.scores import TaskScores
from mugato.model.files import CONFIG, WEIGHTS
from mugato.policy import Policy
from mugato.precision import Precision
from mugato.sampling import Sampling
from mugato.tasks.conform import conform
from mugato.tasks.rollout import reference_scores
from mugato.tasks.task import EVALUATION_SEEDS, Task

# Environments that step together. More gain little speed, and some take a second each to make.
MAX_ENVS = 25

EpisodeProgress = Callable[[int, int], None]  # called with (episodes done, episodes in all)


@dataclass(frozen=True, kw_only=True)
class Acting:
    """How the agent acts.

    Attributes:
        seed: of the sampling; the environments have their own seeds.
        precision: "auto" would depend on what is faster at the moment; see `autocast`.
    """

    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "fp32"


@dataclass(frozen=True, kw_only=True)
class PlayedEpisode:
    """One episode of the agent, summed up."""

    seed: int
    episode_return: float
    length: int


def evaluate_task(
    agent_folder: str | Path,
    task: Task,
    *,
    episodes: int = 50,
    first_seed: int = EVALUATION_SEEDS.start,
    acting: Acting = Acting(),
    demonstrations: str | None = None,
    progress: EpisodeProgress = lambda done, total: None,
) -> TaskScores:
    """Measure the agent, the expert and random actions on the same seeds.

    Args:
        demonstrations: Minari data set whose mean return stands for the expert's where the task has
            no expert.

    Raises:
        ValueError: an environment that fails (naming task and seed), an unknown task, no reference.
    """
    if episodes < 1:
        raise ValueError(f"{task.name}: episodes must be at least 1, got {episodes}")
    started = time.perf_counter()
    seeds = range(first_seed, first_seed + episodes)
    played = play_episodes(
        load_agent(agent_folder, acting.device), task, seeds, acting=acting, progress=progress
    )
    references = reference_scores(task, seeds)
    has_expert = task.make_expert is not None
    return TaskScores(
        name=task.name,
        domain=task.domain,
        first_seed=first_seed,
        returns=[episode.episode_return for episode in played],
        lengths=[episode.length for episode in played],
        expert=references["expert"] if has_expert else demonstrated_returns(task, demonstrations),
        random=references["random"],
        expert_is="expert" if has_expert else "demonstrations",
        max_episode_steps=task.max_episode_steps,
        seconds=time.perf_counter() - started,
    )


def play_episodes(
    agent: Agent,
    task: Task,
    seeds: Sequence[int],
    *,
    acting: Acting = Acting(),
    max_envs: int = MAX_ENVS,
    progress: EpisodeProgress = lambda done, total: None,
) -> list[PlayedEpisode]:
    """Play one episode per seed, `max_envs` at a time, in the order of the seeds."""
    played: list[PlayedEpisode] = []
    with ExitStack() as closing:
        envs = []
        for _ in range(min(max_envs, len(seeds))):
            envs.append(task.make_env())
            closing.callback(envs[-1].close)
        for start in range(0, len(seeds), max_envs):
            wave = seeds[start : start + max_envs]

            def advance(done: int, before: int = start) -> None:
                progress(before + done, len(seeds))

            played += _play_wave(agent, task, envs, wave, acting, advance)
    return played


def demonstrated_returns(task: Task, demonstrations: str | None) -> list[float]:
    """Returns of all demonstrations: the reference for tasks whose expert is not at hand.

    Raises:
        ValueError: no data set is known, or it holds no rewards.
    """
    if demonstrations is None:
        raise ValueError(f"{task.name} has neither an expert nor demonstrations to compare with")
    source = open_minari(demonstrations)
    rewards = [source[i].rewards for i in range(len(source))]
    if any(r is None for r in rewards):
        raise ValueError(f"{task.name}: the demonstrations {demonstrations!r} hold no rewards")
    return [float(r.sum()) for r in rewards if r is not None]


def load_agent(folder: str | Path, device: str) -> Agent:
    """Read an agent, once per process as long as its files stay the same."""
    paths = [Path(folder) / name for name in (WEIGHTS, CONFIG)]
    written = tuple(path.stat().st_mtime_ns for path in paths if path.is_file())
    return _load_agent(str(folder), device, written)


@contextmanager
def named_failures(task: str, seed: int) -> Iterator[None]:
    """Turn whatever an environment raises into one line that names the episode."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        kind = "" if isinstance(error, ValueError) and reason else f"{type(error).__name__}: "
        raise ValueError(f"{task}, seed {seed}: {kind}{reason}") from error


@lru_cache(maxsize=1)
def _load_agent(folder: str, device: str, written: tuple[int, ...]) -> Agent:
    return Agent.from_pretrained(folder, device=device)


class _Episode:
    """One row of a wave."""

    def __init__(self, task: Task, env: gymnasium.Env, seed: int, index: int) -> None:
        self.task, self.env, self.seed, self.index = task, env, seed, index
        self.episode_return, self.length, self.over = 0.0, 0, False
        with named_failures(task.name, seed):
            self.observation, _ = env.reset(seed=seed)

    def step(self, action: Any) -> None:
        with named_failures(self.task.name, self.seed):
            action = conform(self.env.action_space, action, "the agent's action")
            self.observation, reward, terminated, truncated, _ = self.env.step(action)
            if not math.isfinite(reward):
                raise ValueError(f"the reward is {reward}")
        self.episode_return += float(reward)
        self.length += 1
        self.over = bool(terminated or truncated or self.length == self.task.max_episode_steps)


def _play_wave(
    agent: Agent,
    task: Task,
    envs: Sequence[gymnasium.Env],
    seeds: Sequence[int],
    acting: Acting,
    progress: Callable[[int], None],
) -> list[PlayedEpisode]:
    running = [
        _Episode(task, env, seed, i) for i, (env, seed) in enumerate(zip(envs, seeds, strict=False))
    ]
    policy = Policy(
        agent,
        task=task.name,
        num_rows=len(running),
        sampling=acting.sampling,
        seed=acting.seed + seeds[0],
        precision=acting.precision,
    )
    finished: dict[int, PlayedEpisode] = {}
    while running:
        actions = policy.select_actions([episode.observation for episode in running])
        for episode, action in zip(running, actions, strict=True):
            episode.step(action)
            if episode.over:
                finished[episode.index] = PlayedEpisode(
                    seed=episode.seed,
                    episode_return=episode.episode_return,
                    length=episode.length,
                )
        kept = [row for row, episode in enumerate(running) if not episode.over]
        if len(kept) < len(running):
            policy.keep(kept)
            running = [running[row] for row in kept]
            progress(len(finished))
    return [finished[i] for i in range(len(seeds))]
