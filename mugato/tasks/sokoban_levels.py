"""New Sokoban levels: solvable because they are played backwards, and not too easy (§3.1).

Boxes start on their goals and are pulled about at random; whatever was pulled can be pushed back.
"""

import numpy as np

from mugato.tasks.sokoban_rules import MOVES, Cell, Level, shifted
from mugato.tasks.sokoban_solver import solve

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
