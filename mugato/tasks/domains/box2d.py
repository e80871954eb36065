"""LunarLander: land between the flags, by four buttons or two engines (Gymnasium, Box2D).

Expert: the heuristic that comes with the environment. 200 counts as solved.
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task, require


def lunar_lander(name: str, *, continuous: bool) -> Task:
    return Task(
        name=name,
        domain="box2d",
        make_env=partial(_make_env, "LunarLander-v3", continuous=continuous),
        make_expert=_make_expert,
        max_episode_steps=1000,
        failure_return=200.0,
        episodes=300,
        action_noise=0.1 if continuous else 0.02,  # a wrong button costs more than a wrong tenth
    )


def _make_env(env_id: str, *, render_mode: str | None = None, **options: Any) -> gymnasium.Env:
    require("Box2D", extra="box2d")
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True, **options)


def _make_expert(env: gymnasium.Env) -> ActionFunction:
    heuristic = require("gymnasium.envs.box2d.lunar_lander", extra="box2d").heuristic

    def act(observation: Float[np.ndarray, "8"]) -> int | Float[np.ndarray, "2"]:
        action = heuristic(env, observation)
        return action.astype(np.float32) if isinstance(action, np.ndarray) else action

    return act


PACKAGES = ("Box2D",)
TASKS = (
    lunar_lander("lunar-lander", continuous=False),
    lunar_lander("lunar-lander-continuous", continuous=True),
)
