"""New Sokoban levels: solvable because they are played backwards, and not too easy (§3.1).

Boxes start on their goals and are pulled about at random; whatever was pulled can be pushed back.

Sokoban as a Gymnasium environment: push every box onto a goal; boxes cannot be pulled.

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

from mugato.tasks.experts.sokoban import MOVES, Cell, Level, moved, shifted, solve

# Share of the inner cells that are turned into walls, as long as the floor stays in one piece.
WALL_SHARE = 0.25
BACKWARD_STEPS = 150
# Easier levels are drawn again: random moves would stumble over their solutions.
MIN_SOLUTION_MOVES = 12


def new_level(rng: np.random.Generator, *, height: int, width: int, num_boxes: int) -> Level:
    """Draw a level whose shortest solution has at least `MIN_SOLUTION_MOVES`.

    Raises:
        ValueError: if so many boxes do not fit.
    """
    inner = (height - 2) * (width - 2)
    if num_boxes < 1 or num_boxes > inner // 4:
        raise ValueError(f"a {height}x{width} level holds 1 to {inner // 4} boxes, not {num_boxes}")
    while True:
        floor = _floor(rng, height, width)
        cells = sorted(floor)
        chosen = rng.choice(len(cells), size=num_boxes + 1, replace=False)
        *goals, player = (cells[i] for i in chosen)
        boxes, player = _played_backwards(rng, floor, frozenset(goals), player)
        level = Level(
            height=height,
            width=width,
            floor=floor,
            goals=frozenset(goals),
            boxes=boxes,
            player=player,
        )
        if len(solve(level) or ()) >= MIN_SOLUTION_MOVES:
            return level


def _floor(rng: np.random.Generator, height: int, width: int) -> frozenset[Cell]:
    """Walls around, and some inside; every floor cell can be reached from every other."""
    inner = [(row, column) for row in range(1, height - 1) for column in range(1, width - 1)]
    floor = set(inner)
    for i in rng.permutation(len(inner))[: int(WALL_SHARE * len(inner))]:
        without = floor - {inner[i]}
        if _is_connected(without):
            floor = without
    return frozenset(floor)


def _is_connected(cells: set[Cell]) -> bool:
    start = min(cells)
    seen, waiting = {start}, [start]
    while waiting:
        cell = waiting.pop()
        for move in MOVES:
            neighbour = shifted(cell, move)
            if neighbour in cells and neighbour not in seen:
                seen.add(neighbour)
                waiting.append(neighbour)
    return len(seen) == len(cells)


def _played_backwards(
    rng: np.random.Generator, floor: frozenset[Cell], boxes: frozenset[Cell], player: Cell
) -> tuple[frozenset[Cell], Cell]:
    """Walk at random and pull the boxes that one has in front: what was pulled can be pushed."""
    for _ in range(BACKWARD_STEPS):
        step_row, step_column = move = MOVES[rng.integers(len(MOVES))]
        target, front = shifted(player, move), shifted(player, (-step_row, -step_column))
        if target not in floor or target in boxes:
            continue
        if front in boxes:
            boxes = boxes - {front} | {player}
        player = target
    return boxes, player


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
        """Draw a picture of 32x32 pixels a cell, with a thin line between cells."""
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
