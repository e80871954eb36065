"""Sokoban as a Gymnasium environment: push every box onto a goal; boxes cannot be pulled.

Observation: the grid of cells by their codes (`CELLS`). Actions: up, down, left, right. Every
episode is a new level, drawn from the seed. Rewards are those of the paper's Sokoban (Racanière et
al. 2017): -0.1 a move, 1 for a box pushed onto a goal, -1 for one pushed off it, 10 for the last.
"""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8

from mugato.tasks.sokoban_levels import new_level
from mugato.tasks.sokoban_rules import MOVES, Level, moved

CELLS = ("wall", "floor", "goal", "box", "box on goal", "player", "player on goal")
COLORS = np.array(
    [
        (60, 56, 54), (235, 219, 178), (235, 150, 140), (177, 98, 20),
        (152, 151, 26), (69, 133, 136), (104, 80, 160),
    ],
    np.uint8,
)  # fmt: skip
WALL, FLOOR, BOX, PLAYER = (CELLS.index(name) for name in ("wall", "floor", "box", "player"))
TILE_PX = 32


class Sokoban(gymnasium.Env):
    """A level of `height` x `width` cells, walls around it included.

    >>> env = Sokoban()
    >>> observation, _ = env.reset(seed=0)
    >>> observation.shape, int((observation == CELLS.index("box")).sum())
    ((7, 7), 2)
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        *,
        height: int = 7,
        width: int = 7,
        num_boxes: int = 2,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = spaces.Box(0, len(CELLS) - 1, (height, width), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))
        self.render_mode = render_mode
        self._size = {"height": height, "width": width, "num_boxes": num_boxes}
        self.level: Level | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.level = new_level(self.np_random, **self._size)
        return _grid(self.level), {}

    def step(self, action: Any) -> tuple:
        before = self._level()
        player, boxes = moved(before, before.position, int(action))
        self.level = replace(before, player=player, boxes=boxes)
        gained = len(boxes & before.goals) - len(before.boxes & before.goals)
        reward = -0.1 + gained + 10.0 * self.level.solved
        return _grid(self.level), reward, self.level.solved, False, {}

    def render(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """A picture of 32x32 pixels a cell, with a thin line between cells."""
        if self.render_mode is None:
            return None
        picture = COLORS[_grid(self._level())].repeat(TILE_PX, axis=0).repeat(TILE_PX, axis=1)
        picture[::TILE_PX] //= 2
        picture[:, ::TILE_PX] //= 2
        return picture

    def _level(self) -> Level:
        if self.level is None:
            raise ValueError("reset the environment before its first step")
        return self.level


def _grid(level: Level) -> UInt8[np.ndarray, "height width"]:
    """Each cell's code; what stands on a goal has the code after its own."""
    grid = np.full((level.height, level.width), WALL, np.uint8)
    for cell in level.floor:
        code = BOX if cell in level.boxes else PLAYER if cell == level.player else FLOOR
        grid[cell] = code + (cell in level.goals)
    return grid
