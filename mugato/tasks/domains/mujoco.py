"""MuJoCo's easy bodies: one and two poles on a cart, and an arm that reaches (Gymnasium).

Expert: a linear quadratic regulator for the poles (the linearised dynamics' optimal gains, worked
out once), for the arm the joint angles that reach the target and a controller towards them.
Locomotion is missing: it takes hours of reinforcement learning.
"""

from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task, require

# Of position and angle(s), then of their velocities.
POLE_GAINS = np.array([1.7, 12.1, 2.0, 1.9])
TWO_POLES_GAINS = -np.array([0.21, 1.81, 5.57, 0.31, 0.90, 0.85])
LINKS_M = (0.1, 0.11)
REACH_ANGLE_GAIN, REACH_VELOCITY_GAIN = 0.8, 0.13

Formula = Callable[[np.ndarray], np.ndarray]


def mujoco(
    name: str,
    env_id: str,
    formula: Formula,
    max_episode_steps: int,
    *,
    failure_return: float | None = None,
    episodes: int = 100,
    action_noise: float = 0.1,
) -> Task:
    """Make the task of a body that JAT has too, in version 4 of its environment."""
    name = f"mujoco-{name}"
    return Task(
        name=name,
        domain="mujoco",
        make_env=partial(_make_env, env_id),
        make_expert=partial(_make_expert, formula),
        max_episode_steps=max_episode_steps,
        failure_return=failure_return,
        episodes=episodes,
        action_noise=action_noise,
        jat_name=name,
    )


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    require("mujoco", extra="mujoco")
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)


def _make_expert(formula: Formula, env: gymnasium.Env) -> ActionFunction:
    return formula


def balance_pole(observation: Float[np.ndarray, "4"]) -> Float[np.ndarray, "1"]:
    return np.clip([POLE_GAINS @ observation], -3.0, 3.0).astype(np.float32)


def balance_two_poles(observation: Float[np.ndarray, "9"]) -> Float[np.ndarray, "1"]:
    angles = np.arctan2(observation[1:3], observation[3:5])  # the last value is a contact force
    state = np.concatenate([observation[:1], angles, observation[5:8]])
    return np.clip([TWO_POLES_GAINS @ state], -1.0, 1.0).astype(np.float32)


def reach(observation: Float[np.ndarray, "10"]) -> Float[np.ndarray, "2"]:
    angles, target = np.arctan2(observation[2:4], observation[:2]), observation[4:6]
    errors = [_wrapped(wanted - angles) for wanted in reaching_angles(target)]
    nearest = min(errors, key=lambda error: np.abs(error).sum())
    torque = REACH_ANGLE_GAIN * nearest - REACH_VELOCITY_GAIN * observation[6:8]
    return np.clip(torque, -1.0, 1.0).astype(np.float32)


def reaching_angles(target: Float[np.ndarray, "2"]) -> list[Float[np.ndarray, "2"]]:
    """Shoulder and elbow angles, elbow bent either way, that bring the fingertip to the target.

    >>> [angles.round(2).tolist() for angles in reaching_angles(np.array([0.0, 0.15]))]
    [[0.75, 1.55], [2.39, -1.55]]
    """
    upper, fore = LINKS_M
    cosine = (target @ target - upper**2 - fore**2) / (2 * upper * fore)
    bend = np.arccos(np.clip(cosine, -1.0, 1.0))
    direction = np.arctan2(target[1], target[0])
    return [
        np.array([direction - np.arctan2(fore * np.sin(e), upper + fore * np.cos(e)), e])
        for e in (bend, -bend)
    ]


def _wrapped(angles: np.ndarray) -> np.ndarray:
    return (angles + np.pi) % (2 * np.pi) - np.pi


PACKAGES = ("mujoco",)
TASKS = (
    mujoco("pendulum", "InvertedPendulum-v5", balance_pole, 1000, failure_return=999.0),
    mujoco(
        "doublependulum",
        "InvertedDoublePendulum-v5",
        balance_two_poles,
        1000,
        failure_return=9000.0,
    ),
    mujoco("reacher", "Reacher-v5", reach, 50, episodes=400),
)
