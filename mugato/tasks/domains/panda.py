"""Panda: a robot arm reaches and lifts, on the Bullet engine (panda-gym, Gallouédec et al. 2021).

An episode ends at the first success with a reward of 1, so that its return is the success rate.
Expert: rules that look at the present observation alone.
"""

import ctypes
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.experts.grasping import Rule, arm_task, pick_and_place, servo
from mugato.tasks.task import Task, require
from mugato.tasks.wrappers import FirstSuccess

STEP_M = 0.05  # how far the arm comes in one timestep at full speed
CUBE_M = 0.04


def panda(name: str, env_id: str, rule: Rule) -> Task:
    return arm_task(name, "panda", partial(_make_env, env_id), rule)


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    render_mode = render_mode or "rgb_array"  # it knows no None
    with _quiet():
        gymnasium.register_envs(require("panda_gym", extra="panda"))
        env = gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)
    robot: Any = env.unwrapped
    weakref.finalize(robot, robot.sim.close)  # later, as the interpreter ends, it would complain
    return FirstSuccess(env, "is_success")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the terminal what the engine, which is no Python, prints as it starts."""
    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        kept = {stream: os.dup(stream) for stream in (1, 2)}
        try:
            for stream in kept:
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            ctypes.CDLL(None).fflush(None)  # C keeps a buffer of its own
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)


def reach(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "3"]:
    way = observation["desired_goal"] - observation["achieved_goal"]
    return servo(way, step_m=STEP_M, fingers=0.0)[:3]


def lift(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "4"]:
    state = observation["observation"]
    return pick_and_place(
        hand=state[:3],
        cube=observation["achieved_goal"],
        goal=observation["desired_goal"],
        opening_m=float(state[6]),
        cube_m=CUBE_M,
        step_m=STEP_M,
    )


PACKAGES = ("panda-gym", "pybullet")
TASKS = (
    panda("reach", "PandaReach-v3", reach),
    panda("pick-and-place", "PandaPickAndPlace-v3", lift),
)
