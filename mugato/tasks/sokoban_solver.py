"""The shortest solution of a Sokoban position: A* over positions of player and boxes.

A position's estimate is the sum over the boxes of the pushes that each needs, alone, to its nearest
goal. A box needs as many moves as pushes, so that the estimate is never too high and the solution
found is the shortest in moves. A box that can reach no goal ends the search of a branch.
"""

import heapq
from collections import deque
from itertools import count

from mugato.tasks.sokoban_rules import MOVES, Cell, Level, Position, moved, shifted


def solve(level: Level) -> list[int] | None:
    """The moves that solve a level, as numbers of `MOVES`; None if it cannot be solved.

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
    """Moves at least needed; None if a box is stuck for ever."""
    if not all(box in pushes for box in boxes):
        return None
    return sum(pushes[box] for box in boxes)


def _path(came_from: dict[Position, tuple[Position, int] | None], position: Position) -> list[int]:
    numbers = []
    while (step := came_from[position]) is not None:
        position, number = step
        numbers.append(number)
    return numbers[::-1]
