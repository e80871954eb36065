"""Small worlds with experts for tests, which worker processes can import."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mugato.tasks.task import Action, ActionFunction, Task
from mugato.tasks.wrappers import LastAction

LIMIT = 12


class Walk(gymnasium.Env):
    """Walk to a goal on a line by steps of -1, 0 or 1, or by their half where steps are a Box."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, *, is_box: bool = False, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Box(-20, 20, (2,), np.float64)
        self.action_space = spaces.Box(-1, 1, (2,)) if is_box else spaces.Discrete(3)
        self.render_mode, self._is_box = render_mode, is_box

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.place, self.goal, self.steps = 0.0, float(self.np_random.integers(2, 6)), 0
        if seed is not None and seed % 10 == 9:
            raise OSError("no power")
        return self._observation(), {}

    def step(self, action: Any) -> tuple:
        self.steps += 1
        self.place += float(np.sum(action)) / 2 if self._is_box else int(action) - 1
        at_goal = abs(self.place - self.goal) < 0.5
        return self._observation(), float(at_goal), at_goal, self.steps >= LIMIT, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.place, self.goal])


def make_walk(*, is_box: bool, render_mode: str | None = None) -> gymnasium.Env:
    return LastAction(Walk(is_box=is_box, render_mode=render_mode))


def make_expert(env: gymnasium.Env, *, is_box: bool, patience: int) -> ActionFunction:
    """Go to the goal; what is said tells whether the last action was the one that was advised."""
    advised: list[Action] = []

    def act(observation: np.ndarray) -> Action:
        place, goal = observation
        last = env.get_wrapper_attr("last_action")
        obeyed = not advised or np.array_equal(np.asarray(last), np.asarray(advised[-1]))
        if len(advised) >= patience and not obeyed:
            raise AssertionError("what is this?")
        toward = float(np.sign(goal - place))
        if is_box:
            advised.append(np.array([toward, 0.5 if obeyed else 0.25], np.float32))
        else:
            advised.append(np.int64(toward + 1))
        return advised[-1]

    return act


def walk_task(*, is_box: bool = False, patience: int = 100, episodes: int = 20) -> Task:
    """Return the task; an expert without patience gives up on an agent that does not obey."""
    return Task(
        name="walk-box" if is_box else "walk",
        domain="test",
        make_env=partial(make_walk, is_box=is_box),
        make_expert=partial(make_expert, is_box=is_box, patience=patience),
        max_episode_steps=LIMIT,
        failure_return=0.0,
        episodes=episodes,
    )
