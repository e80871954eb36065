"""Classic control: small state vectors, experts that are formulas (Gymnasium)."""

from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task

# Weights of position, velocity, angle and angular velocity; the sign of the sum is the push.
CART_POLE_GAINS = np.array([0.1, 0.3, 3.0, 1.0])


def cartpole(name: str = "cartpole") -> Task:
    """Balance a pole for 500 timesteps; a demonstration that lets it fall is dropped."""
    return Task(
        name=name,
        domain="classic_control",
        make_env=partial(_make_env, "CartPole-v1"),
        make_expert=_cart_pole_expert,
        max_episode_steps=500,
        failure_return=499.0,
        episodes=60,
        action_noise=0.1,
    )


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)


def _cart_pole_expert(env: gymnasium.Env) -> ActionFunction:
    def act(observation: Float[np.ndarray, "4"]) -> int:
        return int(CART_POLE_GAINS @ observation > 0)

    return act


PACKAGES = ()
TASKS = (cartpole("cartpole"),)
