"""Meta-World: a robot arm opens, presses and pushes things (Yu et al. 2019).

Success is transient and its reward is dense; here an episode ends at the first success with a
reward of 1, so that its return is the success rate. Every seed draws its own goal: the benchmark's
own 50 fixed goals would be the same in training and in evaluation.
Expert: the scripted policies that come with the environments.
"""

import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task, require


def metaworld(name: str, env_name: str, *, episodes: int = 200) -> Task:
    return Task(
        name=name,
        domain="metaworld",
        make_env=partial(_make_env, env_name),
        make_expert=partial(_make_expert, env_name),
        max_episode_steps=500,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.1,
    )


class FirstSuccess(gymnasium.Wrapper, RecordConstructorArgs):
    """Reward 1 at the first success, which ends the episode; no other reward."""

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple:
        observation, _, terminated, truncated, info = self.env.step(action)
        success = info["success"] > 0
        return observation, float(success), terminated or success, truncated, info


class GoalFromSeed(gymnasium.Wrapper, RecordConstructorArgs):
    """Draw object and goal positions from the seed given to `reset`, anew for every episode."""

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        env.reset()  # sets one of the benchmark's tasks: from here on the goal is observed
        env.get_wrapper_attr("toggle_sample_tasks_on_reset")(False)
        robot: Any = env.unwrapped
        robot._freeze_rand_vec = False
        robot.seeded_rand_vec = True

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        if seed is not None:
            robot: Any = self.unwrapped
            robot.seed(seed)  # the environment's own reset ignores its seed
        return self.env.reset(seed=seed, options=options)


def _make_env(env_name: str, *, render_mode: str | None = None) -> gymnasium.Env:
    require("metaworld", extra="metaworld")
    env = gymnasium.make(
        "Meta-World/MT1",
        env_name=env_name,
        seed=0,
        render_mode=render_mode,
        disable_env_checker=True,
    )
    return FirstSuccess(GoalFromSeed(env))


def _make_expert(env_name: str, env: gymnasium.Env) -> ActionFunction:
    expert = require("metaworld.policies", extra="metaworld").ENV_POLICY_MAP[env_name]()

    def act(observation: Float[np.ndarray, "39"]) -> Float[np.ndarray, "4"]:
        with warnings.catch_warnings():  # "Constant(s) may be too high": they are clipped here
            warnings.simplefilter("ignore", UserWarning)
            action = expert.get_action(observation)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    return act


PACKAGES = ("metaworld", "mujoco")
TASKS = (
    metaworld("metaworld-button-press-topdown", "button-press-topdown-v3"),
    metaworld("metaworld-coffee-button", "coffee-button-v3"),
    metaworld("metaworld-drawer-close", "drawer-close-v3"),
    metaworld("metaworld-faucet-open", "faucet-open-v3"),
    metaworld("metaworld-handle-press", "handle-press-v3"),
    metaworld("metaworld-window-open", "window-open-v3"),
)
