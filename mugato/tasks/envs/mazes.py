"""MultiNet v2.0's mazes as a Gymnasium environment: a picture of all, a sentence, seven actions.

Each cell of the picture is the benchmark's own tile of 32 pixels shrunk to 8, so that what it shows
at 32 is seen here as if it had been shrunk tile by tile. Mazes of all sizes stand at the upper left
of one black canvas. What the agent carries is not shown, as in the benchmark.

Beside it stands what can be read off the picture, where the red triangle is: its place and facing,
and the cells around it, turned so that it looks up.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from jaxtyping import UInt8
from PIL import Image

from mugato.system.optional import require
from mugato.tasks.envs.maze_generator import new_maze
from mugato.tasks.experts.mazes import (
    ACTIONS,
    BLOCK,
    CLOSED,
    COLOR,
    COLORS,
    EMPTY,
    GATE,
    GOAL,
    KEY,
    KIND,
    LAVA,
    LOCKED,
    OPEN,
    OPEN_GATE,
    SWITCH,
    TELEPORTER,
    WALL,
    WANTED_BLOCK,
    Maze,
    Position,
    moved,
    pushes,
)
from mugato.tasks.wrappers import TEXT_LENGTH

TILE_PX, RENDER_PX = 8, 32
CANVAS = (20, 12)  # the largest of the benchmark's mazes, in cells
VIEW = 7  # cells around the agent, on a side
RED = (255, 0, 0)
MISSION_LENGTH = 160  # the longest of the benchmark's has 147
PRINTABLE = "".join(chr(code) for code in range(32, 127))


class Mazes(gymnasium.Env):
    """A maze for each seed, or always the one that is given.

    Observation: `look`, and the mission, which may be empty. Actions: `ACTIONS`.
    The reward for reaching the target after `t` steps is `1 - 0.9 t / max_steps`. Lava ends the
    episode, and so does a pushed block where the target is a place: the benchmark's own world stops
    with an error then.

    Args:
        level: one of `maze_generator.LEVELS`.
        maze: played instead of new ones.

    >>> env = Mazes("empty")
    >>> observation, _ = env.reset(seed=0)
    >>> observation["image"].shape
    (96, 160, 3)
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self, level: str = "all", *, maze: Maze | None = None, render_mode: str | None = None
    ) -> None:
        if maze is not None and (maze.width > CANVAS[0] or maze.height > CANVAS[1]):
            raise ValueError(
                f"{maze.name or 'the maze'} has {maze.width} x {maze.height} cells; agents see "
                f"{CANVAS[0]} x {CANVAS[1]}"
            )
        width, height = (TILE_PX * cells for cells in CANVAS)
        self.observation_space = spaces.Dict(
            image=spaces.Box(0, 255, (height, width, 3), np.uint8),
            view=spaces.Box(0, 255, (VIEW * TILE_PX, VIEW * TILE_PX, 3), np.uint8),
            pose=spaces.MultiDiscrete([*CANVAS, 4]),
            mission=spaces.Text(TEXT_LENGTH, min_length=0, charset=PRINTABLE),
        )
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.render_mode = render_mode
        self._level, self._given = level, maze
        self.maze = maze
        self.position: Position | None = None
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.maze = self._given or new_maze(self.np_random, self._level)
        self.position = self.maze.first_position
        self._steps = 0
        self._picture = np.zeros((TILE_PX * CANVAS[1], TILE_PX * CANVAS[0], 3), np.uint8)
        self._picture[: self.maze.height * TILE_PX, : self.maze.width * TILE_PX] = picture(
            self.maze, self.position, TILE_PX
        )
        return self._observation(), {}

    def step(self, action: Any) -> tuple:
        maze, before = self.playing
        if action not in self.action_space:
            raise ValueError(f"actions are 0 to {len(ACTIONS) - 1}, got {action!r}")
        self._steps += 1
        self.position = moved(maze, before, int(action))
        outcome = maze.outcome(self.position)
        if not maze.block_target and pushes(maze, before, int(action)):
            outcome = "lost"
        _draw(self._picture, maze, before, self.position)
        won = outcome == "won"
        reward = 1 - 0.9 * self._steps / maze.max_steps if won else 0.0
        is_late = self._steps >= maze.max_steps
        return self._observation(), reward, outcome != "on", is_late, {"success": won}

    def render(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """Draw the benchmark's own picture, 32 pixels a cell."""
        return None if self.render_mode is None else picture(*self.playing, RENDER_PX)

    def _observation(self) -> dict[str, Any]:
        maze, position = self.playing
        y, x = divmod(position.cell, maze.width)
        shown = look(self._picture, (x, y, position.facing))
        return {**shown, "mission": readable(maze.mission)}

    @property
    def playing(self) -> tuple[Maze, Position]:
        """The maze, and where all is; needs a reset first."""
        if self.maze is None or self.position is None:
            raise ValueError("reset the environment before its first step")
        return self.maze, self.position


class WithAim(gymnasium.ActionWrapper, RecordConstructorArgs):
    """Let an agent say where it goes before it moves; what it says changes nothing.

    Actions are the `aim`, x and y of `experts.mazes.aim`, and the `move`, one of `ACTIONS`.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ActionWrapper.__init__(self, env)
        self.action_space = spaces.Dict(aim=spaces.MultiDiscrete([*CANVAS]), move=env.action_space)

    def action(self, action: dict[str, Any]) -> int:
        return int(action["move"])


def readable(mission: str) -> str:
    """Return a sentence as agents read it: printable ASCII, and no more than a context can hold.

    >>> readable("na\u00efve"), len(readable("go " * 1000))
    ('na?ve', 160)
    """
    return "".join(c if c in PRINTABLE else "?" for c in mission)[:MISSION_LENGTH]


def picture(maze: Maze, position: Position, tile_px: int) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a position as MiniGrid does."""
    tiles = np.stack([tile(code, None, tile_px) for code in position.cells])
    tiles[position.cell] = tile(position.cells[position.cell], position.facing, tile_px)
    grid = tiles.reshape(maze.height, maze.width, tile_px, tile_px, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(maze.height * tile_px, maze.width * tile_px, 3)


def seen(
    frame: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "canvas_height canvas_width 3"]:
    """Return what agents see of the benchmark's own picture.

    Raises:
        ValueError: a picture of another kind, or of a maze that is larger than the canvas.
    """
    height, width = (pixels // RENDER_PX for pixels in frame.shape[:2])
    whole = frame.shape == (height * RENDER_PX, width * RENDER_PX, 3) and frame.dtype == np.uint8
    if not whole or not (0 < width <= CANVAS[0] and 0 < height <= CANVAS[1]):
        raise ValueError(
            f"a picture of {frame.dtype} and shape {frame.shape} shows no maze: expected uint8, "
            f"{RENDER_PX} pixels a cell, at most {CANVAS[0]} x {CANVAS[1]} cells"
        )
    canvas = np.zeros((TILE_PX * CANVAS[1], TILE_PX * CANVAS[0], 3), np.uint8)
    small = Image.fromarray(frame).resize((width * TILE_PX, height * TILE_PX), Image.Resampling.BOX)
    canvas[: height * TILE_PX, : width * TILE_PX] = np.asarray(small)
    return canvas


def look(
    canvas: UInt8[np.ndarray, "height width 3"], pose: tuple[int, int, int] | None = None
) -> dict[str, np.ndarray]:
    """Return what an agent sees: `image`, the `view` around it, and its `pose` (x, y, facing).

    Args:
        pose: where it is known; found in the picture where not.

    Raises:
        ValueError: there is no agent in the picture.
    """
    x, y, facing = pose or _find_agent(canvas)
    margin = VIEW // 2 * TILE_PX
    left, top = x * TILE_PX, y * TILE_PX
    wide = np.zeros((canvas.shape[0] + 2 * margin, canvas.shape[1] + 2 * margin, 3), np.uint8)
    wide[margin:-margin, margin:-margin] = canvas
    around = wide[top : top + VIEW * TILE_PX, left : left + VIEW * TILE_PX]
    view = np.rot90(around, facing + 1).copy()
    return {"image": canvas.copy(), "view": view, "pose": np.array([x, y, facing])}


def _find_agent(canvas: UInt8[np.ndarray, "height width 3"]) -> tuple[int, int, int]:
    """Look for a tile that is red wherever the triangle of a facing is, which no other is."""
    red = (canvas == RED).all(axis=2)
    tiles = red.reshape(CANVAS[1], TILE_PX, CANVAS[0], TILE_PX).transpose(0, 2, 1, 3)
    for facing in range(4):
        triangle = (tile(EMPTY, facing, TILE_PX) == RED).all(axis=2)
        found = np.argwhere(tiles[:, :, triangle].all(axis=2))
        if len(found):
            return int(found[0][1]), int(found[0][0]), facing
    raise ValueError("there is no agent in the picture, no red triangle in any cell")


def _draw(
    canvas: UInt8[np.ndarray, "height width 3"], maze: Maze, before: Position, after: Position
) -> None:
    """Draw what has changed."""
    changed = {before.cell, after.cell}
    if before.cells is not after.cells:
        one, two = (np.frombuffer(p.cells, np.uint8) for p in (before, after))
        changed.update(np.flatnonzero(one != two).tolist())
    for cell in changed:
        facing = after.facing if cell == after.cell else None
        y, x = (TILE_PX * n for n in divmod(cell, maze.width))
        canvas[y : y + TILE_PX, x : x + TILE_PX] = tile(after.cells[cell], facing, TILE_PX)


@cache
def tile(code: int, facing: int | None, tile_px: int) -> UInt8[np.ndarray, "tile_px tile_px 3"]:
    """Return the picture of a code, below an agent that faces somewhere; those of 32 px shrunk."""
    if tile_px != RENDER_PX:
        whole = Image.fromarray(tile(code, facing, RENDER_PX))
        return np.asarray(whole.resize((tile_px, tile_px), Image.Resampling.BOX))
    grid = require("minigrid.core.grid", extra="babyai").Grid
    drawn = grid.render_tile(_thing(code), agent_dir=facing, tile_size=RENDER_PX)
    return drawn.astype(np.uint8)  # MiniGrid cuts fractions off, too


def _thing(code: int) -> Any:
    """Return what MiniGrid draws for a code."""
    world = require("minigrid.core.world_object", extra="babyai")
    if code & KIND == 0:
        return {WALL: world.Wall, GOAL: world.Goal, LAVA: world.Lava,
                TELEPORTER: lambda: world.Ball("purple")}.get(code, lambda: None)()  # fmt: skip
    color = COLORS[code & COLOR]
    if code & KIND == SWITCH and color == "white":
        return _white_ball(world)
    color = "grey" if color == "white" else color
    make: dict[int, Callable[[], Any]] = {
        KEY: lambda: world.Key(color),
        SWITCH: lambda: world.Ball(color),
        BLOCK: lambda: world.Box(color),
        WANTED_BLOCK: lambda: world.Box(color),
        LOCKED: lambda: world.Door(color, is_locked=True),
        CLOSED: lambda: world.Door(color),
        OPEN: lambda: world.Door(color, is_open=True),
        GATE: lambda: world.Door("grey"),
        OPEN_GATE: lambda: world.Door("grey", is_open=True),
    }
    return make[code & KIND]()


def _white_ball(world: Any) -> Any:
    """Return a ball in a color that the benchmark adds to MiniGrid's."""
    drawing = require("minigrid.utils.rendering", extra="babyai")

    class WhiteBall(world.Ball):
        def render(self, img: UInt8[np.ndarray, "height width 3"]) -> None:
            drawing.fill_coords(img, drawing.point_in_circle(0.5, 0.5, 0.31), (255, 255, 255))

        def encode(self) -> tuple[int, int, int]:
            return (*super().encode()[:2], 1)  # tiles are kept by what this says

    return WhiteBall()
