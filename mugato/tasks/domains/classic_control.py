"""Classic control: small state vectors, experts that are formulas (Gymnasium)."""

from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task

# Weights of position, velocity, angle and angular velocity; the sign of the sum is the push.
CART_POLE_GAINS = np.array([0.1, 0.3, 3.0, 1.0])
# Weights of both joints' angles and velocities; the sign of the sum is the torque.
ACROBOT_GAINS = np.array([0.0, -0.4, -1.0, 5.0])
CAR_FORCE = 0.4  # enough to get up the hill; more costs more than the time it saves
# Torque per energy that is missing; near the top, per angle and angular velocity.
PENDULUM_ENERGY_GAIN, PENDULUM_ANGLE_GAIN, PENDULUM_VELOCITY_GAIN = 2.0, 10.0, 2.0
NEAR_THE_TOP = 0.7  # cosine of the angle

Formula = Callable[[np.ndarray], int | np.ndarray]


def classic(
    name: str,
    env_id: str,
    formula: Formula,
    max_episode_steps: int,
    *,
    failure_return: float | None = None,
    episodes: int = 100,
) -> Task:
    return Task(
        name=name,
        domain="classic_control",
        make_env=partial(_make_env, env_id),
        make_expert=partial(_make_expert, formula),
        max_episode_steps=max_episode_steps,
        failure_return=failure_return,
        episodes=episodes,
        action_noise=0.1,
    )


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)


def _make_expert(formula: Formula, env: gymnasium.Env) -> ActionFunction:
    return formula


def balance_pole(observation: Float[np.ndarray, "4"]) -> int:
    return int(CART_POLE_GAINS @ observation > 0)


def climb(observation: Float[np.ndarray, "2"]) -> int:
    """Push along with the velocity while the car is slow for where it is, against it otherwise."""
    position, velocity = observation
    slow = min(-0.09 * (position + 0.25) ** 2 + 0.03, 0.3 * (position + 0.9) ** 4 - 0.008)
    fast = -0.07 * (position + 0.38) ** 2 + 0.07
    return 2 if slow < velocity < fast else 0


def climb_gently(observation: Float[np.ndarray, "2"]) -> Float[np.ndarray, "1"]:
    return np.array([CAR_FORCE if observation[1] >= 0 else -CAR_FORCE], np.float32)


def swing_up_two_links(observation: Float[np.ndarray, "6"]) -> int:
    cos_1, sin_1, cos_2, sin_2, velocity_1, velocity_2 = observation
    state = np.array([np.arctan2(sin_1, cos_1), np.arctan2(sin_2, cos_2), velocity_1, velocity_2])
    return 2 if ACROBOT_GAINS @ state > 0 else 0


def swing_up_pendulum(observation: Float[np.ndarray, "3"]) -> Float[np.ndarray, "1"]:
    """Pump energy until the pendulum comes near the top, then hold it there."""
    cosine, sine, velocity = observation
    if cosine > NEAR_THE_TOP:
        angle = np.arctan2(sine, cosine)
        torque = -PENDULUM_ANGLE_GAIN * angle - PENDULUM_VELOCITY_GAIN * velocity
    else:
        missing = 5 * (1 - cosine) - velocity**2 / 6  # of the energy at rest on top, in joules
        torque = PENDULUM_ENERGY_GAIN * missing * (1.0 if velocity >= 0 else -1.0)
    return np.clip(np.array([torque], np.float32), -2.0, 2.0)


PACKAGES = ()
TASKS = (
    classic("cartpole", "CartPole-v1", balance_pole, 500, failure_return=499.0, episodes=60),
    classic("mountain-car", "MountainCar-v0", climb, 200, failure_return=-200.0),
    classic(
        "mountain-car-continuous", "MountainCarContinuous-v0", climb_gently, 999, failure_return=0.0
    ),
    classic("acrobot", "Acrobot-v1", swing_up_two_links, 500, failure_return=-500.0),
    classic("pendulum", "Pendulum-v1", swing_up_pendulum, 200),
)
