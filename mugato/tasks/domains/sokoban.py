"""Sokoban, one of the paper's domains, on our own environment of 7x7 cells and two boxes.

Expert: the shortest solution, by A*; it plans again when an executed action was not its own.
"""

from collections.abc import Iterator
from functools import partial

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from jaxtyping import UInt8

from mugato.tasks.experts.sokoban import Level, Position, moved, solve
from mugato.tasks.task import ActionFunction, Task


def sokoban(name: str, *, num_boxes: int, episodes: int = 2000) -> Task:
    """Every box on a goal within 120 moves, the paper's limit; an unsolved level is a failure."""
    return Task(
        name=name,
        domain="sokoban",
        make_env=partial(_make_env, num_boxes),
        make_expert=_make_expert,
        max_episode_steps=120,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.05,
    )


def _make_env(num_boxes: int, *, render_mode: str | None = None) -> gymnasium.Env:
    spec = EnvSpec(
        id="mugato/Sokoban-v0",
        entry_point="mugato.tasks.envs.sokoban:Sokoban",
        kwargs={"num_boxes": num_boxes},
    )
    return gymnasium.make(spec, render_mode=render_mode, disable_env_checker=True)


def _make_expert(env: gymnasium.Env) -> ActionFunction:
    """Follow the shortest solution.

    Raises:
        RuntimeError: from the returned function, for a level that noise or an agent has spoilt.
    """
    plan: Iterator[int] = iter(())
    expected: Position | None = None

    def act(observation: UInt8[np.ndarray, "height width"]) -> int:
        nonlocal plan, expected
        level: Level = env.get_wrapper_attr("level")
        if level.position != expected:
            plan = iter(solve(level) or ())
        action = next(plan, None)
        if action is None:
            raise RuntimeError("the level has no solution any more")
        expected = moved(level, level.position, action)
        return action

    return act


TASKS = (sokoban("sokoban", num_boxes=2),)
PACKAGES = ()
