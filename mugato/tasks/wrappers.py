"""Gymnasium wrappers that make environments fit: supported spaces, known last action, success.

Each records its arguments, so that Gymnasium can rebuild the whole stack from the environment's
spec, and with it Minari from a recorded data set.

A wrapper that shrinks the pictures of an environment, so that a timestep costs few patches.

A wrapper for games that would begin, or go, the same way every time.
"""

import contextlib
import io
import string
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import UInt8
from PIL import Image

TEXT_LENGTH = 1024


class SupportedSpaces(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Declare text as `spaces.Text` where the environment has its own space of strings.

    MiniGrid's `MissionSpace` says by its dtype that it holds strings, but no library can store it.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        self.observation_space = _with_text(env.observation_space)
        self.action_space = _with_text(env.action_space)

    def observation(self, observation: Any) -> Any:
        return observation


class LastAction(gymnasium.Wrapper, RecordConstructorArgs):
    """Remember the executed action, which under action noise is not the expert's."""

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.last_action: Any = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.last_action = None
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple:
        self.last_action = action
        return self.env.step(action)


class QuietReset(gymnasium.Wrapper, RecordConstructorArgs):
    """Keep what an environment prints while it resets ("Sampling rejected") from the terminal."""

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        with contextlib.redirect_stdout(io.StringIO()):
            return self.env.reset(seed=seed, options=options)


class FirstSuccess(gymnasium.Wrapper, RecordConstructorArgs):
    """Reward 1 at the first success, which ends the episode; no other reward.

    Args:
        key: what the environment calls success in its `info`.
    """

    def __init__(self, env: gymnasium.Env, key: str = "success") -> None:
        RecordConstructorArgs.__init__(self, key=key)
        gymnasium.Wrapper.__init__(self, env)
        self._key = key

    def step(self, action: Any) -> tuple:
        observation, _, terminated, truncated, info = self.env.step(action)
        success = info[self._key] > 0
        return observation, float(success), terminated or success, truncated, info


def with_supported_spaces(env: gymnasium.Env) -> gymnasium.Env:
    """Wrap only where something needs to be replaced."""
    wanted = _with_text(env.observation_space), _with_text(env.action_space)
    same = wanted == (env.observation_space, env.action_space)
    return env if same else SupportedSpaces(env)


def _with_text(space: spaces.Space) -> spaces.Space:
    match space:
        case spaces.Dict():
            return spaces.Dict({key: _with_text(child) for key, child in space.spaces.items()})
        case spaces.Tuple():
            return spaces.Tuple([_with_text(child) for child in space.spaces])
        case spaces.Text():
            return space
    if space.dtype is not None and np.dtype(space.dtype).kind == "U":
        return spaces.Text(max_length=TEXT_LENGTH, min_length=0, charset=string.printable)
    return space


class SmallPicture(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Shrink a picture to `height` x `width` pixels, each the mean of the area that it covers.

    Args:
        key: where the picture is in a Dict observation; None if the observation is the picture.
    """

    def __init__(
        self, env: gymnasium.Env, *, height: int, width: int, key: str | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, height=height, width=width, key=key)
        gymnasium.ObservationWrapper.__init__(self, env)
        self._height, self._width, self._key = height, width, key
        space = spaces.Box(0, 255, (height, width, 3), np.uint8)
        whole: Any = env.observation_space
        self.observation_space = space if key is None else spaces.Dict({**whole.spaces, key: space})

    def observation(self, observation: Any) -> Any:
        if self._key is None:
            return self._shrunk(observation)
        return {**observation, self._key: self._shrunk(observation[self._key])}

    def _shrunk(
        self, picture: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "small_height small_width 3"]:
        image = Image.fromarray(picture).resize((self._width, self._height), Image.Resampling.BOX)
        return np.asarray(image)


class RandomStart(gymnasium.Wrapper, RecordConstructorArgs):
    """Begin each episode with 1 to `most` random actions, drawn from the environment's seed."""

    def __init__(self, env: gymnasium.Env, *, most: int) -> None:
        RecordConstructorArgs.__init__(self, most=most)
        gymnasium.Wrapper.__init__(self, env)
        self._most = most

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        observation, info = self.env.reset(seed=seed, options=options)
        rng = self.unwrapped.np_random
        self.env.action_space.seed(int(rng.integers(2**31)))
        for _ in range(rng.integers(1, self._most, endpoint=True)):
            observation, _, _, _, info = self.env.step(self.env.action_space.sample())
        return observation, info
