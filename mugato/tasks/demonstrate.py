"""From a task and a seed to one demonstration, or to the reason why there is none.

This is what recording runs in its worker processes; it depends on nothing but the seed, so that
any number of workers records the same.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from mugato.tasks.conform import NotInSpaceError, as_array, conform
from mugato.tasks.rollout import Rollout, run_episode
from mugato.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode as Minari stores it: values of the spaces, stacked leaf by leaf.

    Attributes:
        observations: T + 1 of them; text as a list of str.
        actions: T of them.
    """

    seed: int
    observations: Any
    actions: Any
    rewards: Float[np.ndarray, " timesteps"]
    terminated: bool


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A seed whose episode is no demonstration, and why."""

    seed: int
    reason: str


def demonstrate(
    task: Task,
    env: gymnasium.Env,
    seeds: Sequence[int],
    *,
    action_noise: float,
    keep_failures: bool,
) -> list[Demonstration | Dropped]:
    """Let the expert play one episode per seed.

    Errors of the expert or the environment in an episode, and a return that is a failure, drop it.

    Raises:
        ValueError: if the expert acts outside the action space, or an observation does not fit.
    """
    return [_demonstrate(task, env, seed, action_noise, keep_failures) for seed in seeds]


def demonstrate_in_worker(
    pickled_task: bytes, seeds: Sequence[int], *, action_noise: float, keep_failures: bool
) -> list[Demonstration | Dropped]:
    """Do the same in a process that makes the environment once: some take a second to make."""
    task, env = _task_and_env(pickled_task)
    return demonstrate(task, env, seeds, action_noise=action_noise, keep_failures=keep_failures)


@lru_cache(maxsize=1)
def _task_and_env(pickled_task: bytes) -> tuple[Task, gymnasium.Env]:
    task = pickle.loads(pickled_task)
    return task, task.make_env()


@singledispatch
def stack(space: spaces.Space, values: list, where: str) -> Any:
    """Turn a list of values of a space into one value whose leaves have a leading time axis.

    Raises:
        NotInSpaceError: for values of another shape or type, naming `where` and the path in it.
    """
    shape = (len(values), *(space.shape or ()))
    return as_array(values, dtype=space.dtype, shape=shape, where=where)


@stack.register
def _(space: spaces.Dict, values: list, where: str) -> dict[str, Any]:
    return {
        key: stack(child, [value[key] for value in values], f"{where}/{key}")
        for key, child in space.items()
    }


@stack.register
def _(space: spaces.Tuple, values: list, where: str) -> tuple:
    return tuple(
        stack(child, [value[i] for value in values], f"{where}/{i}")
        for i, child in enumerate(space.spaces)
    )


@stack.register
def _(space: spaces.Text, values: list, where: str) -> list[str]:
    return [conform(space, value, where) for value in values]


def _demonstrate(
    task: Task, env: gymnasium.Env, seed: int, action_noise: float, keep_failures: bool
) -> Demonstration | Dropped:
    assert task.make_expert is not None, "checked before recording"
    try:
        rollout = run_episode(
            env,
            task.make_expert,
            seed=seed,
            max_episode_steps=task.max_episode_steps,
            action_noise=action_noise,
        )
        if keep_failures or task.succeeded(rollout.episode_return):
            return _stacked(env, rollout)
        return Dropped(seed=seed, reason=f"failed with return {rollout.episode_return:g}")
    except NotInSpaceError as error:
        raise ValueError(f"{task.name}, seed {seed}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        return Dropped(seed=seed, reason=f"{type(error).__name__}: {reason}"[:200])


def _stacked(env: gymnasium.Env, rollout: Rollout) -> Demonstration:
    return Demonstration(
        seed=rollout.seed,
        observations=stack(env.observation_space, rollout.observations, "observation"),
        actions=stack(env.action_space, rollout.actions, "action"),
        rewards=rollout.rewards,
        terminated=rollout.terminated,
    )
