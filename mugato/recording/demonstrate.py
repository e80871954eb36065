"""From a task and a seed to one demonstration, or to the reason why there is none.

This is what recording runs in its worker processes; it depends on nothing but the seed, so that
any number of workers records the same.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mugato.data.formats.minari.layout import EXECUTED, StoredArray, episode_arrays, stored
from mugato.data.formats.minari.read import episode_of
from mugato.data.formats.minari.write import as_jpeg
from mugato.episode import validate
from mugato.spec import map_space, spec_of
from mugato.system.errors import describe
from mugato.system.workers import WorkerDiedError, WorkerPool
from mugato.tasks.conform import NotInSpaceError, as_array, conform
from mugato.tasks.environment import opened
from mugato.tasks.rollout import Rollout, run_episode
from mugato.tasks.task import Task

# For each process: enough to keep all busy while one is slow; more would only fill memory.
SEEDS_AHEAD = 8


@dataclass(frozen=True, kw_only=True)
class AcceptanceCriteria:
    """What makes an episode a demonstration, and how it is kept.

    Attributes:
        keep_failures: whether a return that is a failure is kept.
        min_return: episodes that return less are dropped; None keeps all.
        jpeg: store pictures as lossy JPEG.
    """

    keep_failures: bool = False
    min_return: float | None = None
    jpeg: bool = False


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode as Minari stores it.

    Attributes:
        arrays: path in the episode's group -> what will lie there.
        cut: why it ends before the environment or its time ended it; empty where it does not.
    """

    seed: int
    timesteps: int
    episode_return: float
    arrays: Mapping[str, StoredArray]
    cut: str = ""


@dataclass(frozen=True, kw_only=True)
class RejectedEpisode:
    """A seed whose episode is not a demonstration.

    Attributes:
        cause: what kind of thing it was, the same for many seeds ("failed", "RuntimeError").
        reason: what it was at this seed.
    """

    seed: int
    cause: str
    reason: str


def demonstrate(
    task: Task, env: gymnasium.Env, seed: int, criteria: AcceptanceCriteria
) -> Demonstration | RejectedEpisode:
    """Let the expert play one episode.

    Errors of the expert or the environment in it, and a return too low, drop it.

    Raises:
        ValueError: if the expert acts outside the action space, or an observation does not fit.
    """
    assert task.make_expert is not None, "checked before recording"
    try:
        rollout = run_episode(
            env,
            task.make_expert,
            seed=seed,
            max_episode_steps=task.max_episode_steps,
            action_noise=task.action_noise,
        )
        dropped = _too_low(task, rollout, criteria)
        if dropped is not None:
            return dropped
        parts = _stacked(env, rollout)
    except NotInSpaceError as error:
        raise ValueError(f"{task.name}, seed {seed}: {error}") from error
    except Exception as error:
        cause = type(error).__name__
        return RejectedEpisode(
            seed=seed, cause=cause, reason=describe(error, with_place=True)[:200]
        )
    return _packed(task, env, rollout, parts, jpeg=criteria.jpeg)


def demonstration_of(
    task: Task, env: gymnasium.Env, rollout: Rollout, *, cut: str
) -> Demonstration:
    """Pack an episode that was played elsewhere, as `demonstrate` does its own.

    Args:
        cut: see `Demonstration`.

    Raises:
        ValueError: if an action or observation does not fit its space.
    """
    try:
        parts = _stacked(env, rollout)
    except NotInSpaceError as error:
        raise ValueError(f"{task.name}, seed {rollout.seed}: {error}") from error
    return replace(_packed(task, env, rollout, parts, jpeg=False), cut=cut)


def _packed(
    task: Task, env: gymnasium.Env, rollout: Rollout, parts: dict[str, Any], *, jpeg: bool
) -> Demonstration:
    spec = spec_of(env.observation_space, env.action_space)
    name = f"{task.name}, seed {rollout.seed}"
    validate(episode_of(SimpleNamespace(**parts), spec, name=name), spec)
    if jpeg:
        parts["observations"] = as_jpeg(env.observation_space, parts["observations"])
    arrays = episode_arrays(terminated=rollout.terminated, **parts)
    return Demonstration(
        seed=rollout.seed,
        timesteps=len(rollout),
        episode_return=rollout.episode_return,
        arrays={path: stored(array) for path, array in arrays.items()},
    )


@contextmanager
def endless_demonstrations(
    task: Task, env: gymnasium.Env, criteria: AcceptanceCriteria, *, workers: int, first_seed: int
) -> Iterator[Iterator[Demonstration | RejectedEpisode]]:
    """Play the seeds from `first_seed` on, in their order; processes end with the block.

    Args:
        env: used where `workers` is 1; other processes make their own.

    Raises:
        ValueError: if the task cannot be pickled, or a process dies.
    """
    if workers == 1:
        yield (demonstrate(task, env, seed, criteria) for seed in count(first_seed))
        return
    run = partial(_demonstrate_in_worker, criteria=criteria)
    with WorkerPool(workers, setup=partial(_task_with_env, task), name=task.name) as pool:
        try:
            yield pool.stream(run, count(first_seed), ahead=SEEDS_AHEAD)
        except WorkerDiedError as error:
            raise ValueError(f"{task.name}: a worker process died with {error.cause}") from error


@contextmanager
def _task_with_env(task: Task) -> Iterator[tuple[Task, gymnasium.Env]]:
    """Make the environment once in each process: some take a second to make."""
    with opened(task.make_env) as env:
        yield task, env


def _demonstrate_in_worker(
    given: tuple[Task, gymnasium.Env], seed: int, *, criteria: AcceptanceCriteria
) -> Demonstration | RejectedEpisode:
    task, env = given
    return demonstrate(task, env, seed, criteria)


def _stack(space: spaces.Space, *values: Any, path: str) -> np.ndarray | list[str]:
    """Stack a leaf's values along a leading axis of time.

    Raises:
        NotInSpaceError: for values of another shape or type, or a text that the file cannot hold,
            naming path and timestep.
    """
    if isinstance(space, spaces.Text):
        return [_text(space, value, f"{path} at timestep {t}") for t, value in enumerate(values)]
    shape = space.shape or ()
    try:
        stacked = (len(values), *shape)
        return as_array(list(values), dtype=space.dtype, shape=stacked, where=path)
    except NotInSpaceError:
        for t, value in enumerate(values):
            as_array(value, dtype=space.dtype, shape=shape, where=f"{path} at timestep {t}")
        raise


def _text(space: spaces.Text, value: Any, where: str) -> str:
    text = conform(space, value, where)
    if text.endswith("\0"):
        raise NotInSpaceError(f"{where} {text!r} ends with NUL, which HDF5 takes for padding")
    return text


def _too_low(task: Task, rollout: Rollout, criteria: AcceptanceCriteria) -> RejectedEpisode | None:
    seed, returned = rollout.seed, rollout.episode_return
    if not (criteria.keep_failures or task.succeeded(returned)):
        return RejectedEpisode(seed=seed, cause="failed", reason=f"failed with return {returned:g}")
    if criteria.min_return is not None and not returned >= criteria.min_return:
        reason = f"returned {returned:g}, less than {criteria.min_return:g}"
        return RejectedEpisode(seed=seed, cause="return too low", reason=reason)
    return None


def _stacked(env: gymnasium.Env, rollout: Rollout) -> dict[str, Any]:
    """Return an episode's parts, each leaf with a leading axis of time."""
    seen, act = env.observation_space, env.action_space
    infos = {}
    if rollout.executed is not None:
        infos[EXECUTED] = map_space(_stack, act, *rollout.executed, path="executed action")
    return {
        "observations": map_space(_stack, seen, *rollout.observations, path="observation"),
        "actions": map_space(_stack, act, *rollout.actions, path="action"),
        "rewards": rollout.rewards,
        "infos": infos,
    }
