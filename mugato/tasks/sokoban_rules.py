"""Sokoban's rules: walls, goals, boxes that can be pushed but not pulled, and a player.

Cells are (row, column).
"""

from dataclasses import dataclass

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
    """The neighbour of a cell.

    >>> shifted((2, 2), (0, -1))
    (2, 1)
    """
    return cell[0] + move[0], cell[1] + move[1]


def moved(level: Level, position: Position, number: int) -> Position:
    """The position after a move; the same one if a wall or a second box is in the way."""
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
