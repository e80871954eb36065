"""MultiNet v2.0's mazes: all is seen, and keys, switches and their doors have to be used in order.

Observation: a 160x96 picture of up to 20x12 cells, and the mission, which may be empty. Expert: a
shortest way, by search; it plans again when an executed action was not its own. The return falls
with the time used, from 1. New mazes are drawn for every seed; those of the benchmark are none of
them, and are played from their files by `maze_file`.
"""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from mugato.tasks.envs.maze_files import read_maze
from mugato.tasks.envs.maze_generator import LEVELS
from mugato.tasks.envs.mazes import Mazes, WithAim
from mugato.tasks.experts.mazes import Maze, Position, aim, moved, solve
from mugato.tasks.experts.plans import PlanFollower
from mugato.tasks.task import Action, ActionFunction, Task

PREFIX = "maze:"
LONGEST = 400  # no maze allows more steps


def mazes(level: str, *, episodes: int = 2000) -> Task:
    """Make the task of a level; a maze that is not solved in its time is a failure."""
    return Task(
        name=f"mazes-{level}",
        domain="mazes",
        make_env=partial(_make_env, level),
        make_expert=make_solver,
        max_episode_steps=LONGEST,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.1,
    )


def maze_file(path: Path) -> Task:
    """Make the task of one maze in a file of the benchmark's; no seed changes anything.

    Raises:
        ValueError: the file holds no maze that can be played.
    """
    maze = read_maze(path)
    return Task(
        name=f"{PREFIX}{path}",
        domain="mazes",
        make_env=partial(make_one, maze),
        make_expert=make_solver,
        max_episode_steps=maze.max_steps,
        failure_return=0.0,
        episodes=1,
        action_noise=0.0,
    )


def make_one(maze: Maze, *, render_mode: str | None = None) -> gymnasium.Env:
    """Make the environment of one maze."""
    return WithAim(Mazes(maze=maze, render_mode=render_mode))


def _make_env(level: str, *, render_mode: str | None = None) -> gymnasium.Env:
    spec = EnvSpec(
        id="mugato/Mazes-v0",
        entry_point="mugato.tasks.envs.mazes:Mazes",
        kwargs={"level": level},
    )
    return WithAim(gymnasium.make(spec, render_mode=render_mode, disable_env_checker=True))


def make_solver(env: gymnasium.Env) -> ActionFunction:
    """Follow a shortest way, one of them by chance.

    Raises:
        RuntimeError: from the returned function, for a maze that noise or an agent has spoilt.
    """
    dice = random.Random(int(env.unwrapped.np_random.integers(2**62)))
    return PlanFollower(
        look=lambda: env.get_wrapper_attr("playing"),
        search=lambda maze, position: solve(maze, position, dice),
        moved=moved,
        say=_answer,
        what="maze",
    )


def _answer(maze: Maze, position: Position, actions: Sequence[int]) -> Action:
    """Say where the way leads, and move."""
    y, x = divmod(aim(maze, position, actions), maze.width)
    return {"aim": np.array([x, y]), "move": actions[0]}


PACKAGES = ("minigrid",)
TASKS = tuple(mazes(level) for level in LEVELS)
