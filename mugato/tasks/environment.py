"""Reset, step and close whatever environments users have; faults are told as the environment's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium
import numpy as np

from mugato.tasks.conform import NotInSpaceError


@contextmanager
def opened(make_env: Callable[[], gymnasium.Env]) -> Iterator[gymnasium.Env]:
    """Make an environment and close it at the end."""
    env = make_env()
    try:
        yield env
    finally:
        close(env)


def close(env: gymnasium.Env) -> None:
    """Close an environment; one that cannot be closed has given all that was wanted of it."""
    with suppress(Exception, SystemExit):
        env.close()


def reset(env: gymnasium.Env, *, seed: int) -> Any:
    """Begin the episode of a seed; return its first observation.

    Raises:
        NotInSpaceError: what is returned is not (observation, info).
        RuntimeError: the environment would end the program.
    """
    with stays("the environment"):
        returned = env.reset(seed=seed)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise NotInSpaceError(f"reset() returned {_shown(returned)}, not (observation, info)")
    return returned[0]


def step(env: gymnasium.Env, action: Any, *, timestep: int) -> tuple[Any, float, bool, bool]:
    """Take a step; return observation, reward, terminated and truncated.

    Args:
        timestep: of the step, for what is said of it.

    Raises:
        NotInSpaceError: a reward that is no finite number, or something else than Gymnasium's five
            values.
        RuntimeError: the environment would end the program.
    """
    with stays("the environment"):
        returned = env.step(action)
    if not isinstance(returned, tuple) or len(returned) != 5:
        raise NotInSpaceError(
            f"step() returned {_shown(returned)} at timestep {timestep}, not (observation, reward, "
            "terminated, truncated, info)"
        )
    observation, reward, terminated, truncated, _ = returned
    return observation, _number(reward, timestep), bool(terminated), bool(truncated)


@contextmanager
def stays(who: str) -> Iterator[None]:
    """Make an error of `sys.exit`, which would end the user's command without a word."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{who} called sys.exit({error.code})") from error


def _number(reward: Any, timestep: int) -> float:
    """Return a reward as a number; an array of one number is one."""
    try:
        number = float(np.asarray(reward).item())
    except (TypeError, ValueError):
        raise NotInSpaceError(
            f"the reward at timestep {timestep} is {reward!r}, not a number"
        ) from None
    if not np.isfinite(number):
        raise NotInSpaceError(f"the reward at timestep {timestep} is {number:g}")
    return number


def _shown(returned: Any) -> str:
    return f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
