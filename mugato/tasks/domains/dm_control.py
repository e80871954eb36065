"""The DeepMind Control Suite: balance, swing up, reach, catch (Tassa et al. 2018; §3.1).

Observations are dictionaries of state vectors, actions lie in [-1, 1], and a thousand rewards in
[0, 1] make an episode.
Expert: predictive sampling, with a smooth cost in place of rewards that are mostly 0.
"""

import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.system.optional import require
from mugato.tasks.experts.predictive_sampling import Motion, Planner, Search
from mugato.tasks.task import ActionFunction, Task

EXTRA = "dm-control"
Cost = Float[np.ndarray, "candidates horizon"]


def dm_control(name: str, search: Search, *, failure_return: float, episodes: int = 50) -> Task:
    """Make a task by its name in the suite, domain and task joined by a dash."""
    return Task(
        name="dm-control-" + name.replace("_", "-"),
        domain="dm_control",
        make_env=partial(_make_env, f"dm_control/{name}-v0"),
        make_expert=partial(_make_expert, search),
        max_episode_steps=1000,
        failure_return=failure_return,
        episodes=episodes,
        action_noise=0.05,
    )


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    with warnings.catch_warnings():  # about a missing display
        warnings.simplefilter("ignore")
        require("dm_control.suite", extra=EXTRA)
        gymnasium.register_envs(require("shimmy", extra=EXTRA))
        return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)


def _make_expert(search: Search, env: gymnasium.Env) -> ActionFunction:
    control: Any = env.get_wrapper_attr("_env")
    data, model = control.physics.data.ptr, control.physics.model.ptr
    planner = Planner(search, model=model, substeps=control._n_sub_steps, extra=EXTRA)

    def act(observation: dict[str, Any]) -> Float[np.ndarray, " actions"]:
        return planner.act(np.concatenate([[data.time], data.qpos, data.qvel]))

    return act


def _pendulum(motion: Motion) -> Cost:
    return 1 - np.cos(motion.qpos[..., 0]) + 0.01 * motion.qvel[..., 0] ** 2


def _cartpole(motion: Motion) -> Cost:
    position, angle = motion.qpos[..., 0], motion.qpos[..., 1]
    velocity, spin = motion.qvel[..., 0], motion.qvel[..., 1]
    moving = 0.01 * velocity**2 + 0.005 * spin**2
    return 1 - np.cos(angle) + 0.3 * position**2 + moving + 0.01 * motion.control[..., 0] ** 2


def _reacher(motion: Motion) -> Cost:
    model = motion.model
    upper, lower = model.body("hand").pos[0], model.body("finger").pos[0]
    shoulder, elbow = motion.qpos[..., 0], motion.qpos[..., :2].sum(axis=-1)
    x = upper * np.cos(shoulder) + lower * np.cos(elbow)
    y = upper * np.sin(shoulder) + lower * np.sin(elbow)
    target = model.geom("target").pos
    moving = 0.001 * (motion.qvel**2).sum(axis=-1)
    return np.hypot(x - target[0], y - target[1]) / 0.1 + moving


def _point_mass(motion: Motion) -> Cost:
    moving = 0.02 * (motion.qvel**2).sum(axis=-1)
    effort = 0.002 * (motion.control**2).sum(axis=-1)
    return np.hypot(motion.qpos[..., 0], motion.qpos[..., 1]) + moving + effort


def _ball_in_cup(motion: Motion) -> Cost:
    """Return the distance of the ball from the cup's inside; both move from their own rest."""
    model = motion.model
    cup_x, cup_z, ball_x, ball_z = np.moveaxis(motion.qpos, -1, 0)
    rest = model.body("ball").pos - model.body("cup").pos - model.site("target").pos
    return np.hypot(rest[0] + ball_x - cup_x, rest[2] + ball_z - cup_z)


_POLE = Search(cost=_cartpole, horizon=100, noise=0.4, steps_per_plan=4)
_ARM = Search(cost=_reacher, horizon=30, noise=0.3)

TASKS = (
    dm_control("pendulum-swingup", Search(cost=_pendulum, horizon=60), failure_return=500.0),
    dm_control("cartpole-balance", _POLE, failure_return=800.0),
    dm_control("cartpole-swingup", _POLE, failure_return=600.0),
    dm_control("reacher-easy", _ARM, failure_return=700.0),
    dm_control("reacher-hard", _ARM, failure_return=700.0),
    dm_control("point_mass-easy", Search(cost=_point_mass, horizon=30), failure_return=600.0),
    dm_control(
        "ball_in_cup-catch",
        Search(cost=_ball_in_cup, horizon=30, candidates=24, noise=0.7, steps_per_plan=5),
        failure_return=700.0,
    ),
)
PACKAGES = ("dm_control", "mujoco", "Shimmy")
