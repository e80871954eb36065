"""Fetch: a robot arm reaches, pushes and lifts (Plappert et al. 2018; Gymnasium-Robotics).

An episode ends at the first success with a reward of 1, so that its return is the success rate.
Expert: rules that look at the present observation alone, so that nothing hidden is to be learned.
Fetch's slide is missing: the puck must be shot, which no simple rule does.
"""

from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.experts.grasping import Rule, arm_task, pick_and_place, servo
from mugato.tasks.robotics import make_robotics_env
from mugato.tasks.task import Task
from mugato.tasks.wrappers import FirstSuccess

STEP_M = 0.033  # how far the arm comes in one timestep at full speed
CUBE_M = 0.05
# Pushing, in meters: how far behind the cube, how far beside the line to the goal at most, and how
# high above the table to pass it.
BEHIND_M, BESIDE_M, ABOVE_M = 0.07, 0.015, 0.08


def fetch(name: str, env_id: str, rule: Rule) -> Task:
    return arm_task(name, "fetch", partial(_make_env, env_id), rule)


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    return FirstSuccess(make_robotics_env(env_id, render_mode=render_mode), "is_success")


def reach(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "4"]:
    way = observation["desired_goal"] - observation["achieved_goal"]
    return servo(way, step_m=STEP_M, fingers=0.0)


def lift(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "4"]:
    state = observation["observation"]
    return pick_and_place(
        hand=state[:3],
        cube=observation["achieved_goal"],
        goal=observation["desired_goal"],
        opening_m=float(state[9:11].sum()),
        cube_m=CUBE_M,
        step_m=STEP_M,
    )


def push(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "4"]:
    """Go around the cube to its far side, come down, and push it along the line to the goal."""
    hand, cube = observation["observation"][:3], observation["achieved_goal"]
    line = (observation["desired_goal"] - cube)[:2]
    line = line / max(float(np.linalg.norm(line)), 1e-6)
    offset = (hand - cube)[:2]
    along = float(offset @ line)
    beside = offset - along * line
    start = cube[:2] - BEHIND_M * line
    if along < 0 and np.linalg.norm(beside) < BESIDE_M and hand[2] < cube[2] + CUBE_M / 2:
        way = np.append(0.03 * line - beside, cube[2] - hand[2])
    elif np.linalg.norm(start - hand[:2]) < BESIDE_M:
        way = np.append(start, cube[2]) - hand
    else:
        height = cube[2] + ABOVE_M - hand[2]
        if height > BESIDE_M and np.linalg.norm(offset) < BEHIND_M + BESIDE_M:
            way = np.array([0.0, 0.0, height])  # up first: the cube may be in the way
        else:
            way = np.append(start - hand[:2], height)
    return servo(way, step_m=STEP_M, fingers=0.0)


PACKAGES = ("gymnasium-robotics", "mujoco")
TASKS = (
    fetch("reach", "FetchReach-v4", reach),
    fetch("push", "FetchPush-v4", push),
    fetch("pick-and-place", "FetchPickAndPlace-v4", lift),
)
