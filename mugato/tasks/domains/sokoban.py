"""Sokoban, one of the paper's domains, on our own environment of 7x7 cells and two boxes.

Expert: the shortest solution, by A*; it plans again when an executed action was not its own.
"""

from functools import partial

import gymnasium
from gymnasium.envs.registration import EnvSpec

from mugato.tasks.experts.plans import PlanFollower
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

    def look() -> tuple[Level, Position]:
        level: Level = env.get_wrapper_attr("level")
        return level, level.position

    return PlanFollower(
        look=look, search=lambda level, position: solve(level), moved=moved, what="level"
    )


TASKS = (sokoban("sokoban", num_boxes=2),)
PACKAGES = ()
