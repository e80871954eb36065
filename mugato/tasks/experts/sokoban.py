"""Sokoban's rules: walls, goals, boxes that can be pushed but not pulled, and a player.

Cells are (row, column).

The shortest solution of a Sokoban position: A* over positions of player and boxes.

A position's estimate is the sum over the boxes of the pushes that each needs, alone, to its nearest
goal. A box needs as many moves as pushes, so that the estimate is never too high and the solution
found is the shortest in moves. A box that can reach no goal ends the search of a branch.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import count

Cell = tuple[int, int]
Position = tuple[Cell, frozenset[Cell]]  # the player's cell, the boxes' cells

# The four moves, in the order of the environment's actions.
MOVES: tuple[Cell, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True, kw_only=True)
class Level:
    """A position of the game; solved when the boxes are on the goals."""

    height: int
    width: int
    floor: frozenset[Cell]
    goals: frozenset[Cell]
    boxes: frozenset[Cell]
    player: Cell

    @property
    def position(self) -> Position:
        return self.player, self.boxes

    @property
    def solved(self) -> bool:
        return self.boxes == self.goals


def shifted(cell: Cell, move: Cell) -> Cell:
    """Return the neighbor of a cell.

    >>> shifted((2, 2), (0, -1))
    (2, 1)
    """
    return cell[0] + move[0], cell[1] + move[1]


def moved(level: Level, position: Position, number: int) -> Position:
    """Return the position after a move; the same one if a wall or a second box is in the way."""
    (player, boxes), move = position, MOVES[number]
    target = shifted(player, move)
    if target not in level.floor:
        return position
    if target not in boxes:
        return target, boxes
    behind = shifted(target, move)
    if behind not in level.floor or behind in boxes:
        return position
    return target, boxes - {target} | {behind}


def solve(level: Level) -> list[int] | None:
    """Return the moves that solve a level, as numbers of `MOVES`; None if it cannot be solved.

    >>> corridor = frozenset((1, column) for column in range(1, 5))
    >>> solve(Level(height=3, width=6, floor=corridor, goals=frozenset([(1, 4)]),
    ...             boxes=frozenset([(1, 2)]), player=(1, 1)))
    [3, 3]
    """
    pushes = _pushes_to_nearest_goal(level)
    start = level.position
    came_from: dict[Position, tuple[Position, int] | None] = {start: None}
    moves_to = {start: 0}
    order = count()  # among equal estimates the oldest first; positions have no order
    queue = [(_estimate(level.boxes, pushes), next(order), start)]
    while queue:
        _, _, position = heapq.heappop(queue)
        if position[1] == level.goals:
            return _path(came_from, position)
        for number, next_position in _next_positions(level, position):
            moves = moves_to[position] + 1
            estimate = _estimate(next_position[1], pushes)
            if estimate is None or moves >= moves_to.get(next_position, moves + 1):
                continue
            moves_to[next_position] = moves
            came_from[next_position] = (position, number)
            heapq.heappush(queue, (moves + estimate, next(order), next_position))
    return None


def _next_positions(level: Level, position: Position) -> list[tuple[int, Position]]:
    results = ((number, moved(level, position, number)) for number in range(len(MOVES)))
    return [(number, result) for number, result in results if result != position]


def _pushes_to_nearest_goal(level: Level) -> dict[Cell, int]:
    """For each cell from which a box can be pushed to a goal, how many pushes that takes."""
    pushes = dict.fromkeys(level.goals, 0)
    waiting = deque(sorted(level.goals))
    while waiting:
        cell = waiting.popleft()
        for row, column in MOVES:  # the box came from `before`, pushed by a player behind it
            before = shifted(cell, (-row, -column))
            player = shifted(before, (-row, -column))
            if before in level.floor and player in level.floor and before not in pushes:
                pushes[before] = pushes[cell] + 1
                waiting.append(before)
    return pushes


def _estimate(boxes: frozenset[Cell], pushes: dict[Cell, int]) -> int | None:
    """Return how many moves are needed at least; None if a box is stuck for ever."""
    if not all(box in pushes for box in boxes):
        return None
    return sum(pushes[box] for box in boxes)


def _path(came_from: dict[Position, tuple[Position, int] | None], position: Position) -> list[int]:
    numbers = []
    while (step := came_from[position]) is not None:
        position, number = step
        numbers.append(number)
    return numbers[::-1]
