"""Run a policy in an environment for one episode, with or without action noise.

Noise is DART (Laskey et al. 2017): what is recorded is the action that the expert chose, what is
executed is a perturbed one, so that demonstrations also show states off the expert's path and the
way back from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from mugato.spec import finite_bounds, map_space
from mugato.tasks.conform import conform, detached
from mugato.tasks.environment import reset, stays, step
from mugato.tasks.task import Action, ActionFunction, Observation

NOISE_STREAM = 1  # keeps the noise of a seed apart from what the environment draws from it
RANDOM_STREAM = 2

OnStep = Callable[[float, bool], None]  # called with (reward, whether it is the last step)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One episode as the environment gave it: T + 1 observations, T actions and rewards.

    Its values are copies: environments and policies may go on writing into their own.

    Attributes:
        actions: those to learn: the policy's, or an expert's where an agent drives.
        executed: those that were executed in their place, under noise or by an agent; None where
            they are the same.
        terminated: whether the environment ended the episode; otherwise the time was over.
    """

    seed: int
    observations: list[Observation]
    actions: list[Action]
    executed: list[Action] | None
    rewards: Float[np.ndarray, " timesteps"]
    terminated: bool

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(self.rewards.sum())


def run_episode(
    env: gymnasium.Env,
    make_policy: Callable[[gymnasium.Env], ActionFunction],
    *,
    seed: int,
    max_episode_steps: int,
    action_noise: float = 0.0,
    on_step: OnStep = lambda reward, is_last: None,
) -> Rollout:
    """Reset with a seed and act until the end.

    Args:
        make_policy: called with the environment after its reset.
        action_noise: how far executed actions stray from the policy's, see `perturb`.
        on_step: called with each step's reward and whether the episode ends with it.

    Raises:
        NotInSpaceError: an action outside the action space, or a reward that is not finite.
    """
    rng = np.random.default_rng([NOISE_STREAM, seed])
    observation = reset(env, seed=seed)
    observations, actions, executed, rewards = [detached(observation)], [], [], []
    policy, terminated, is_over = make_policy(env), False, False
    while not is_over:
        actions.append(_chosen(policy, observation, env.action_space))
        executed.append(perturb(env.action_space, actions[-1], action_noise, rng))
        returned = step(env, detached(executed[-1]), timestep=len(rewards))
        observation, reward, terminated, truncated = returned
        observations.append(detached(observation))
        rewards.append(reward)
        is_over = terminated or truncated or len(actions) == max_episode_steps
        on_step(rewards[-1], is_over)
    return Rollout(
        seed=seed,
        observations=observations,
        actions=actions,
        executed=executed if action_noise else None,
        rewards=np.array(rewards, np.float64),
        terminated=terminated,
    )


def _chosen(policy: ActionFunction, observation: Observation, space: spaces.Space) -> Action:
    with stays("the policy"):
        action = detached(policy(observation))
    return conform(space, action, "action")


def random_policy(env: gymnasium.Env, *, seed: int) -> ActionFunction:
    """Uniformly random actions, the same for the same seed."""
    rng = np.random.default_rng([RANDOM_STREAM, seed])
    env.action_space.seed(int(rng.integers(2**31)))
    return lambda observation: env.action_space.sample()


def perturb(space: spaces.Space, action: Any, noise: float, rng: np.random.Generator) -> Any:
    """Draw the action to execute in place of `action`, itself without noise.

    Args:
        noise: for discrete actions the probability of executing a uniformly random one, for
            continuous ones the standard deviation in units of half their range.

    Raises:
        ValueError: for a space without a notion of noise.
    """
    if noise == 0:
        return action
    return map_space(lambda leaf, part, path: _perturb(leaf, part, noise, rng), space, action)


@singledispatch
def _perturb(space: spaces.Space, action: Any, noise: float, rng: np.random.Generator) -> Any:
    raise ValueError(f"action noise is not defined for {type(space).__name__}; use action_noise=0")


@_perturb.register
def _(space: spaces.Text, action: str, noise: float, rng: np.random.Generator) -> str:
    return action  # there are no small errors in words


@_perturb.register
def _(space: spaces.Discrete, action: Any, noise: float, rng: np.random.Generator) -> Any:
    return _perturbed(space, space.start, space.n, action, noise, rng)


@_perturb.register
def _(space: spaces.MultiDiscrete, action: Any, noise: float, rng: np.random.Generator) -> Any:
    return _perturbed(space, getattr(space, "start", 0), space.nvec, action, noise, rng)


@_perturb.register
def _(space: spaces.MultiBinary, action: Any, noise: float, rng: np.random.Generator) -> Any:
    return _perturbed(space, 0, 2, action, noise, rng)


@_perturb.register
def _(space: spaces.Box, action: np.ndarray, noise: float, rng: np.random.Generator) -> Any:
    if not np.issubdtype(space.dtype, np.floating):
        low, high = space.low.astype(np.int64), space.high.astype(np.int64)
        random = rng.integers(low, high, endpoint=True, size=space.shape)
        return np.where(rng.random(space.shape) < noise, random, action).astype(space.dtype)
    low, high = finite_bounds(space)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"action noise needs bounded actions, but the space is {space}")
    half_range = (high - low) / 2
    noisy = action + noise * half_range * rng.standard_normal(space.shape)
    return np.clip(noisy, space.low, space.high).astype(space.dtype)


def _perturbed(
    space: spaces.Space, start: Any, count: Any, action: Any, noise: float, rng: np.random.Generator
) -> Any:
    """Each element uniformly random with probability `noise`."""
    random = rng.integers(start, start + count, size=space.shape)
    return np.where(rng.random(space.shape) < noise, random, action).astype(space.dtype)[()]
