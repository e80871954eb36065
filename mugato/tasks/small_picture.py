"""A wrapper that shrinks the pictures of an environment, so that a timestep costs few patches."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import UInt8
from PIL import Image


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
