"""An environment with every kind of space, registered when imported, and experts for it."""

import os
import string

import gymnasium
import numpy as np
from gymnasium import spaces

ENV_ID = "all_spaces:AllSpaces-v0"


class AllSpaces(gymnasium.Env):
    """Random observations for five timesteps; the reward is 1 at the end unless the seed is 3."""

    observation_space = spaces.Dict(
        image=spaces.Box(0, 255, (40, 36, 3), np.uint8),
        grey=spaces.Box(0, 255, (32, 32), np.uint8),
        sensors=spaces.Tuple(
            [spaces.Discrete(3, start=-1), spaces.MultiBinary(4), spaces.Box(-9, 9, (2,))]
        ),
        words=spaces.Text(30, min_length=0, charset=string.printable + "äß"),
        counts=spaces.MultiDiscrete([3, 1000]),
    )
    action_space = spaces.Dict(
        move=spaces.MultiDiscrete([3, 4], start=[1, 0]),
        tool=spaces.Tuple([spaces.Discrete(5), spaces.Box(-1, 1, (2,))]),
        flags=spaces.MultiBinary(3),
    )

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.timestep = seed, 0
        self.timestep = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.timestep += 1
        ended = self.timestep == 5
        return self._observation(), float(ended and self.seed != 3), ended, False, {}

    def _observation(self):
        rng = self.np_random
        return {
            "image": rng.integers(256, size=(40, 36, 3), dtype=np.uint8),
            "grey": rng.integers(256, size=(32, 32), dtype=np.uint8),
            "sensors": (
                rng.integers(-1, 2),
                rng.integers(2, size=4, dtype=np.int8),
                rng.uniform(-9, 9, 2).astype(np.float32),
            ),
            "words": f"step {self.timestep} ß" if self.timestep else "",
            "counts": rng.integers([3, 1000]),
        }


def expert(observation):
    """Answer in Python's own types, as users do."""
    one, bits, position = observation["sensors"]
    return {
        "move": [int(one) + 2, int(bits.sum()) % 4],
        "tool": (int(observation["counts"][1]) % 5, list(np.clip(position / 9, -1, 1))),
        "flags": [True, False, bool(bits[0])],
    }


def fails_at_times(observation):
    if observation["counts"][1] < 200:
        raise RuntimeError("out of its depth")
    return expert(observation)


def dies_at_times(observation):
    if observation["counts"][1] > 980:
        os._exit(1)
    return expert(observation)


def too_strong(observation):
    return {**expert(observation), "tool": (0, [0.5, 1.5])}


not_a_function = 3

if "AllSpaces-v0" not in gymnasium.registry:  # pytest imports this file under another name, too
    gymnasium.register("AllSpaces-v0", entry_point="all_spaces:AllSpaces")
