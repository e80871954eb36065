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
from mugato.tasks.wrappers import FirstSuccess


def metaworld(name: str, env_name: str, *, episodes: int = 200) -> Task:
    """One of MT50; JAT has all of them, under the same names."""
    name = f"metaworld-{name}"
    return Task(
        name=name,
        domain="metaworld",
        make_env=partial(_make_env, env_name),
        make_expert=partial(_make_expert, env_name),
        max_episode_steps=500,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.1,
        jat_name=name,
    )


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
    metaworld("assembly", "assembly-v3"),
    metaworld("basketball", "basketball-v3"),
    metaworld("bin-picking", "bin-picking-v3"),
    metaworld("box-close", "box-close-v3"),
    metaworld("button-press", "button-press-v3"),
    metaworld("button-press-topdown", "button-press-topdown-v3"),
    metaworld("button-press-topdown-wall", "button-press-topdown-wall-v3"),
    metaworld("button-press-wall", "button-press-wall-v3"),
    metaworld("coffee-button", "coffee-button-v3"),
    metaworld("coffee-pull", "coffee-pull-v3"),
    metaworld("coffee-push", "coffee-push-v3"),
    metaworld("dial-turn", "dial-turn-v3"),
    metaworld("disassemble", "disassemble-v3"),
    metaworld("door-close", "door-close-v3"),
    metaworld("door-lock", "door-lock-v3"),
    metaworld("door-open", "door-open-v3"),
    metaworld("door-unlock", "door-unlock-v3"),
    metaworld("drawer-close", "drawer-close-v3"),
    metaworld("drawer-open", "drawer-open-v3"),
    metaworld("faucet-close", "faucet-close-v3"),
    metaworld("faucet-open", "faucet-open-v3"),
    metaworld("hammer", "hammer-v3"),
    metaworld("hand-insert", "hand-insert-v3"),
    metaworld("handle-press", "handle-press-v3"),
    metaworld("handle-press-side", "handle-press-side-v3"),
    metaworld("handle-pull", "handle-pull-v3"),
    metaworld("handle-pull-side", "handle-pull-side-v3"),
    metaworld("lever-pull", "lever-pull-v3"),
    metaworld("peg-insert-side", "peg-insert-side-v3"),
    metaworld("peg-unplug-side", "peg-unplug-side-v3"),
    metaworld("pick-out-of-hole", "pick-out-of-hole-v3"),
    metaworld("pick-place", "pick-place-v3"),
    metaworld("pick-place-wall", "pick-place-wall-v3"),
    metaworld("plate-slide", "plate-slide-v3"),
    metaworld("plate-slide-back", "plate-slide-back-v3"),
    metaworld("plate-slide-back-side", "plate-slide-back-side-v3"),
    metaworld("plate-slide-side", "plate-slide-side-v3"),
    metaworld("push", "push-v3"),
    metaworld("push-back", "push-back-v3"),
    metaworld("push-wall", "push-wall-v3"),
    metaworld("reach", "reach-v3"),
    metaworld("reach-wall", "reach-wall-v3"),
    metaworld("shelf-place", "shelf-place-v3"),
    metaworld("soccer", "soccer-v3"),
    metaworld("stick-pull", "stick-pull-v3"),
    metaworld("stick-push", "stick-push-v3"),
    metaworld("sweep", "sweep-v3"),
    metaworld("sweep-into", "sweep-into-v3"),
    metaworld("window-close", "window-close-v3"),
    metaworld("window-open", "window-open-v3"),
)
