"""Rules for arms that are moved by the way their hand shall go: to a place, and with a cube.

An action is the way, in units of the arm's reach in one timestep, and what the fingers do (1 opens,
-1 closes).
"""

from collections.abc import Callable
from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.task import ActionFunction, Task

# Over the cube, in meters: as near sideways as this before going down, from this high up.
BESIDE_M, ABOVE_M = 0.012, 0.06
# The fingers close around what is this near. They hold what is not much further, as it slips, when
# they are open as wide as it is, or wider or narrower by the slack.
REACHED_M, HELD_M, SLACK_M = 0.02, 0.045, 0.008

Rule = Callable[[dict[str, np.ndarray]], np.ndarray]


def arm_task(
    name: str,
    domain: str,
    make_env: Callable[..., gymnasium.Env],
    rule: Rule,
) -> Task:
    """Make an arm's task of 50 timesteps whose expert is a rule over the present observation."""
    return Task(
        name=f"{domain}-{name}",
        domain=domain,
        make_env=make_env,
        make_expert=partial(_make_expert, rule),
        max_episode_steps=50,
        failure_return=0.0,
        episodes=400,
        action_noise=0.1,
    )


def _make_expert(rule: Rule, env: gymnasium.Env) -> ActionFunction:
    return rule


def servo(way: Float[np.ndarray, "3"], *, step_m: float, fingers: float) -> Float[np.ndarray, "4"]:
    """Move along `way`, slower at its end.

    >>> servo(np.array([0.01, 0.0, -0.5]), step_m=0.05, fingers=1.0).round(2).tolist()
    [0.20000000298023224, 0.0, -1.0, 1.0]
    """
    return np.append(np.clip(way / step_m, -1.0, 1.0), fingers).astype(np.float32)


def pick_and_place(
    *,
    hand: Float[np.ndarray, "3"],
    cube: Float[np.ndarray, "3"],
    goal: Float[np.ndarray, "3"],
    opening_m: float,
    cube_m: float,
    step_m: float,
) -> Float[np.ndarray, "4"]:
    """Above the cube, down, close, and to the goal; each phase shows in what is observed now.

    Args:
        opening_m: between the fingers.
        cube_m: the cube's edge.
    """
    way = cube - hand
    sideways = float(np.linalg.norm(way[:2]))
    distance = float(np.linalg.norm(way))
    if distance < HELD_M and abs(opening_m - cube_m) < SLACK_M:
        return servo(goal - cube, step_m=step_m, fingers=-1.0)
    if distance < REACHED_M:
        return servo(way, step_m=step_m, fingers=-1.0)
    if sideways < BESIDE_M:
        return servo(way, step_m=step_m, fingers=1.0)
    above = way + np.array([0.0, 0.0, ABOVE_M])
    return servo(above, step_m=step_m, fingers=1.0)
