"""Environments for tests, which worker processes can import."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mugato.tasks.task import Task

LENGTH = 6


class Guess(gymnasium.Env):
    """Name the number that is shown; a right answer gives 1. Episodes differ in length."""

    observation_space = spaces.Dict(shown=spaces.Discrete(4), place=spaces.Box(-1, 1, (2,)))
    action_space = spaces.Discrete(4)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(
        self,
        fault: str | None = None,
        at: Sequence[int] | None = None,
        once: Path | None = None,
    ) -> None:
        """Crash in some way: at some seeds, or at all; only once where that names a file."""
        self.plan = fault, at, once
        self.fault: str | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        fault, at, once = self.plan
        crashed = once is not None and once.exists()
        self.fault = fault if (at is None or seed in at) and not crashed else None
        if once is not None and self.fault:
            once.touch()
        super().reset(seed=seed)
        if self.fault == "reset":
            raise OSError("no power")
        self.length = int(self.np_random.integers(2, LENGTH))
        self.steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple:
        if self.fault == "error" and self.steps == 1:
            raise RuntimeError("the motor is on fire")
        if self.fault == "death":
            os._exit(7)
        self.steps += 1
        reward = float(action == self.shown)
        reward = float("nan") if self.fault == "nan" else reward
        return self._observation(), reward, self.steps == self.length, False, {}

    def render(self) -> np.ndarray:
        return np.full((41, 57, 3), 40 * self.shown, np.uint8)

    def _observation(self) -> dict:
        self.shown = int(self.np_random.integers(4))
        place = self.np_random.random(2).astype(np.float32)
        blind = self.fault == "blind" and self.steps == 1
        return {"shown": np.int64(self.shown), "place": place * np.nan if blind else place}


def make_guess(*fault: Any, render_mode: str | None = None) -> gymnasium.Env:
    return Guess(*fault)


def guess_expert(env: gymnasium.Env) -> Any:
    return lambda observation: observation["shown"]


def guess_task(
    name: str = "guess",
    *,
    fault: str | None = None,
    at: Sequence[int] | None = None,
    once: Path | None = None,
    expert: bool = True,
) -> Task:
    return Task(
        name=name,
        domain="test",
        make_env=partial(make_guess, fault, at, once),
        make_expert=guess_expert if expert else None,
        max_episode_steps=LENGTH,
    )
