"""PointMaze: push a ball through a maze to a goal (Gymnasium-Robotics, sparse reward).

Start and goal are random. An episode ends at the goal, so that its return is 1 or 0.
Expert: the shortest path over the maze's cells, followed by a proportional-derivative controller.
"""

from collections import deque
from functools import partial

import gymnasium
import numpy as np
from jaxtyping import Float

from mugato.tasks.robotics import make_robotics_env
from mugato.tasks.task import ActionFunction, Task

POSITION_GAIN = 10.0  # newtons per meter to the next waypoint
VELOCITY_GAIN = 2.0  # newtons per meter per second

Cell = tuple[int, int]


def pointmaze(name: str, maze: str, max_episode_steps: int, *, episodes: int = 400) -> Task:
    return Task(
        name=f"pointmaze-{name}",
        domain="pointmaze",
        make_env=partial(_make_env, f"PointMaze_{maze}"),
        make_expert=_make_expert,
        max_episode_steps=max_episode_steps,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.1,
    )


def shortest_path(open_cells: set[Cell], start: Cell, goal: Cell) -> list[Cell]:
    """Return the cells from `start` to `goal`, both included, in steps along rows and columns.

    >>> shortest_path({(0, 0), (0, 1), (1, 1)}, (0, 0), (1, 1))
    [(0, 0), (0, 1), (1, 1)]
    """
    came_from = {start: start}
    queue = deque([start])
    while queue and goal not in came_from:
        row, column = cell = queue.popleft()
        for next_cell in (
            (row + 1, column),
            (row - 1, column),
            (row, column + 1),
            (row, column - 1),
        ):
            if next_cell in open_cells and next_cell not in came_from:
                came_from[next_cell] = cell
                queue.append(next_cell)
    if goal not in came_from:
        raise ValueError(f"no way from cell {start} to cell {goal}")
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    return make_robotics_env(env_id, render_mode=render_mode, continuing_task=False)


def _make_expert(env: gymnasium.Env) -> ActionFunction:
    maze = env.get_wrapper_attr("maze")
    cells = np.argwhere(np.array(maze.maze_map, dtype=object) != 1)
    open_cells = {(int(row), int(column)) for row, column in cells}

    def cell_of(xy: Float[np.ndarray, "2"]) -> Cell:
        row, column = maze.cell_xy_to_rowcol(xy)
        return int(row), int(column)

    def act(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "2"]:
        position, velocity = observation["observation"][:2], observation["observation"][2:]
        goal = observation["desired_goal"]
        path = shortest_path(open_cells, cell_of(position), cell_of(goal))
        waypoint = goal if len(path) == 1 else maze.cell_rowcol_to_xy(np.array(path[1]))
        if len(path) == 2:  # the next cell holds the goal: no detour over its center
            waypoint = goal
        force = POSITION_GAIN * (waypoint - position) - VELOCITY_GAIN * velocity
        return np.clip(force, -1.0, 1.0).astype(np.float32)

    return act


PACKAGES = ("gymnasium-robotics", "mujoco")
TASKS = (
    pointmaze("umaze", "UMaze-v3", 300),
    pointmaze("open", "Open-v3", 300),
    pointmaze("open-diverse-g", "Open_Diverse_G-v3", 300),
    pointmaze("open-diverse-gr", "Open_Diverse_GR-v3", 300),
    pointmaze("medium", "Medium-v3", 600),
    pointmaze("medium-diverse-g", "Medium_Diverse_G-v3", 600),
    pointmaze("medium-diverse-gr", "Medium_Diverse_GR-v3", 600),
    pointmaze("large", "Large-v3", 800),
    pointmaze("large-diverse-g", "Large_Diverse_G-v3", 800),
    pointmaze("large-diverse-gr", "Large_Diverse_GR-v3", 800),
)
