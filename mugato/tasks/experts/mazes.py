"""The rules of MultiNet v2.0's mazes: keys, doors, switches, gates, blocks, teleporters, lava.

They are those of the benchmark's own world (ManifoldRG/MultiNet-v2.0 at 0bb6625), oddities too:
keys do not block the way, an "open" door is unlocked but closed, a block that is pushed replaces
what was there. Cells are numbered row by row; a position's `cells` holds a code for each.

The shortest way to the target: a breadth-first search over the true positions of all that moves.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple

Cell = tuple[int, int]  # x to the right, y down

COLORS = ("red", "green", "blue", "purple", "yellow", "grey", "white")
# A code is a kind and a color: `kind | COLORS.index(color)`.
EMPTY, WALL, GOAL, LAVA, TELEPORTER = range(5)
KEY, SWITCH, BLOCK, LOCKED, CLOSED, OPEN, GATE, OPEN_GATE, WANTED_BLOCK = range(8, 80, 8)
BLOCKS = (BLOCK, WANTED_BLOCK)  # that is one which has to arrive
KIND, COLOR = 0b1111000, 0b111
ENTERABLE = frozenset({EMPTY, GOAL, LAVA, TELEPORTER, OPEN_GATE}) | {
    kind | color for kind in (SWITCH, OPEN) for color in range(len(COLORS))
}

ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "nothing")
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, NOTHING = range(len(ACTIONS))
NO_KEY = -1
MOST_POSITIONS = 200_000  # a search ends here: half a second to a second


class Position(NamedTuple):
    """All that changes in a maze but the time.

    Attributes:
        cell: the agent's.
        facing: 0 right, 1 down, 2 left, 3 up.
        carrying: color of the key in the agent's hands, or `NO_KEY`.
        cells: code of what is in each cell, below the agent too.
        active: one bit for each switch that is on.
    """

    cell: int
    facing: int
    carrying: int
    cells: bytes
    active: int


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something in one cell.

    Attributes:
        code: kind and color.
        on: of a switch, whether it is at first; of a gate, whether it is open without a switch.
        hold: a switch that is on only while the agent stands on it.
        one_shot: a switch that stays on.
        gates: cells of the gates that a switch opens.
    """

    cell: Cell
    code: int
    on: bool = False
    hold: bool = False
    one_shot: bool = False
    gates: tuple[Cell, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Maze:
    """A maze as it is at first.

    Attributes:
        width, height: in cells, the border of walls included.
        things: in the order in which they are placed; of two in one cell the later stays.
        teleporters: pairs of ends; the second leads back if `both`.
        target: where the agent has to come.
        block_target: whether a `WANTED_BLOCK` has to come there instead.
    """

    width: int
    height: int
    walls: frozenset[Cell]
    start: Cell
    target: Cell
    things: tuple[Thing, ...] = ()
    teleporters: tuple[tuple[Cell, Cell, bool], ...] = ()
    keys_vanish: bool = True
    block_target: bool = False
    max_steps: int = 100
    mission: str = ""
    name: str = field(default="", compare=False)

    def number(self, cell: Cell) -> int:
        """Return a cell's place in `Position.cells`."""
        return cell[1] * self.width + cell[0]

    def is_border(self, cell: Cell) -> bool:
        """Whether a cell is of the border of walls, or lies beyond it."""
        return not (0 < cell[0] < self.width - 1 and 0 < cell[1] < self.height - 1)

    @cached_property
    def switches(self) -> dict[int, tuple[int, Thing]]:
        """By cell: the switch's bit, and the switch."""
        found = [thing for thing in self.things if thing.code & KIND == SWITCH]
        return {self.number(one.cell): (1 << i, one) for i, one in enumerate(found)}

    @cached_property
    def gates(self) -> tuple[tuple[int, int, bool], ...]:
        """Each gate's cell, the bits of its switches, and whether it is open without them."""
        controls = {
            gate.cell: sum(bit for bit, one in self.switches.values() if gate.cell in one.gates)
            for gate in self.things if gate.code & KIND in (GATE, OPEN_GATE)
        }  # fmt: skip
        return tuple(
            (self.number(gate.cell), controls[gate.cell], gate.on)
            for gate in self.things if gate.cell in controls
        )  # fmt: skip

    @cached_property
    def holds(self) -> int:
        """Bits of the switches that are on only while the agent stands on them."""
        return sum(bit for bit, switch in self.switches.values() if switch.hold)

    @cached_property
    def exits(self) -> dict[int, int]:
        """Where a teleporter's cell leads."""
        found = {}
        for a, b, both in self.teleporters:
            found[self.number(a)] = self.number(b)
            if both:
                found[self.number(b)] = self.number(a)
        return found

    @cached_property
    def steps(self) -> tuple[int, int, int, int]:
        """What a step adds to a cell's number, for each way to face."""
        return 1, self.width, -1, -self.width

    @property
    def first_position(self) -> Position:
        """The position that an episode begins with."""
        codes = bytearray(self.width * self.height)
        cells = [(x, y) for y in range(self.height) for x in range(self.width)]
        for cell in (*filter(self.is_border, cells), *self.walls):
            codes[self.number(cell)] = WALL
        for thing in self.things:
            codes[self.number(thing.cell)] = thing.code
        active = sum(bit for bit, switch in self.switches.values() if switch.on)
        position = Position(self.number(self.start), 0, NO_KEY, bytes(codes), 0)
        return _switched(self, position, active)

    def outcome(self, position: Position) -> Literal["won", "lost", "on"]:
        """Tell whether the episode is over."""
        if position.cells[position.cell] == LAVA:
            return "lost"
        target = self.number(self.target)
        if self.block_target:
            return "won" if position.cells[target] & KIND == WANTED_BLOCK else "on"
        return "won" if position.cell == target else "on"


def moved(maze: Maze, position: Position, action: int) -> Position:
    """Return the position after an action; the first rule that fits decides."""
    cell, facing, carrying, cells, _ = position
    here, ahead = cells[cell], cells[_front(maze, position)]
    if action == TOGGLE and here & KIND == SWITCH:
        return _switched(maze, position, _activated(maze, position))
    if action == PICKUP and here & KIND == KEY:
        return _lifted(position, cell) if carrying == NO_KEY else position
    if action == FORWARD and ahead & KIND == KEY:
        return _held(maze, position._replace(cell=_front(maze, position)))
    if action == TOGGLE and ahead & KIND == LOCKED and carrying == ahead & COLOR:
        left = NO_KEY if maze.keys_vanish else carrying
        return _with(position, _front(maze, position), OPEN | carrying)._replace(carrying=left)
    if (ahead == GATE and action == FORWARD) or (
        ahead & KIND in (GATE, OPEN_GATE) and action == TOGGLE
    ):
        return position
    if pushes(maze, position, action):
        front = _front(maze, position)
        beyond = _with(position, _next(maze, front, facing), ahead)
        return _with(beyond, front, EMPTY)._replace(cell=front)
    return _plain(maze, position, action)


def pushes(maze: Maze, position: Position, action: int) -> bool:
    """Whether an action pushes a block.

    The benchmark's world stops with an error then, but where a block is what has to arrive.
    """
    front = _front(maze, position)
    if action != FORWARD or position.cells[front] & KIND not in BLOCKS:
        return False
    beyond = position.cells[_next(maze, front, position.facing)]
    return beyond in ENTERABLE or beyond & KIND == KEY


def _front(maze: Maze, position: Position) -> int:
    """Return the cell before the agent, its own where the maze ends."""
    return _next(maze, position.cell, position.facing)


def _next(maze: Maze, cell: int, facing: int) -> int:
    """Return the cell beside one, itself where the maze ends: a door may stand in the border."""
    beside = cell + maze.steps[facing]
    in_row = beside // maze.width == cell // maze.width
    inside = in_row if facing % 2 == 0 else 0 <= beside < maze.width * maze.height
    return beside if inside else cell


def _plain(maze: Maze, position: Position, action: int) -> Position:
    """Do what MiniGrid does."""
    cell, facing, carrying, cells, _ = position
    front = _front(maze, position)
    ahead = cells[front]
    if action in (LEFT, RIGHT):
        return position._replace(facing=(facing + (1 if action == RIGHT else -1)) % 4)
    if action == FORWARD:
        held = _held(maze, position._replace(cell=front if ahead in ENTERABLE else cell))
        jumps = held.cells[held.cell] == TELEPORTER
        return held._replace(cell=maze.exits.get(held.cell, held.cell)) if jumps else held
    if action == PICKUP and carrying == NO_KEY and ahead & KIND == KEY:
        return _lifted(position, front)
    if action == DROP and carrying != NO_KEY and ahead == EMPTY:
        return _with(position, front, KEY | carrying)._replace(carrying=NO_KEY)
    if action == TOGGLE and ahead & KIND in BLOCKS:
        return _with(position, front, EMPTY)
    if action == TOGGLE and ahead & KIND in (CLOSED, OPEN):
        return _with(position, front, ahead ^ CLOSED ^ OPEN)
    return position


def _lifted(position: Position, cell: int) -> Position:
    color = position.cells[cell] & COLOR
    return _with(position, cell, EMPTY)._replace(carrying=color)


def _with(position: Position, cell: int, code: int) -> Position:
    cells = bytearray(position.cells)
    cells[cell] = code
    return position._replace(cells=bytes(cells))


def _activated(maze: Maze, position: Position) -> int:
    """Return the switches that are on once the one below the agent was used."""
    bit, switch = maze.switches[position.cell]
    stays = switch.hold or switch.one_shot
    return position.active | bit if stays else position.active ^ bit


def _held(maze: Maze, position: Position) -> Position:
    """Let go of the switches that have to be held, but for the one below the agent."""
    if not maze.holds:
        return position
    bit = 0
    if position.cells[position.cell] & KIND == SWITCH:
        bit = maze.switches[position.cell][0] & maze.holds
    return _switched(maze, position, position.active & ~maze.holds | bit)


def _switched(maze: Maze, position: Position, active: int) -> Position:
    """Open and close the gates; what was pushed into one stays."""
    cells = bytearray(position.cells)
    for cell, bits, always in maze.gates:
        if cells[cell] & KIND in (GATE, OPEN_GATE):
            cells[cell] = OPEN_GATE if always or active & bits else GATE
    return position._replace(cells=bytes(cells), active=active)


def solve(maze: Maze, position: Position, rng: random.Random) -> list[int] | None:
    """Return actions that reach the target; None if none are found.

    They are a shortest way without laying down a key, one of them by chance. Where there is none,
    what is carried is laid down at once, or, where keys do not vanish, once its door is open. No
    block is pushed where that would end the game.
    """
    if (way := shortest_way(maze, position, rng)) is not None:
        return way
    if position.carrying != NO_KEY and (turns := _turns_to_drop(maze, position)) is not None:
        after = position
        for action in (*turns, DROP):
            after = moved(maze, after, action)
        if (way := shortest_way(maze, after, rng)) is not None:
            return [*turns, DROP, *way]
    return None if maze.keys_vanish else _with_drops(maze, position, rng)


def aim(maze: Maze, position: Position, actions: Sequence[int]) -> int:
    """Return the cell of the key, door, switch, block or teleporter that a way comes to next.

    The cell where the way ends if there is none.
    """
    for action in actions:
        if _uses(maze, position, action):
            here = (action, position.cells[position.cell] & KIND) in (
                (TOGGLE, SWITCH),
                (PICKUP, KEY),
            )
            return position.cell if here else _front(maze, position)
        position = moved(maze, position, action)
    return position.cell


def _uses(maze: Maze, position: Position, action: int) -> bool:
    """Whether an action does more than go to the next cell."""
    if action != FORWARD:
        return action not in (LEFT, RIGHT)
    after, front = moved(maze, position, action), _front(maze, position)
    is_push = position.cells[front] & KIND in BLOCKS
    return is_push or after.cell not in (position.cell, front)


def _turns_to_drop(maze: Maze, position: Position) -> list[int] | None:
    """Return how to turn to an empty cell."""
    for turns in ([], [LEFT], [RIGHT], [LEFT, LEFT]):
        after = position
        for action in turns:
            after = moved(maze, after, action)
        if after.cells[_front(maze, after)] == EMPTY:
            return turns
    return None


def _with_drops(maze: Maze, position: Position, rng: random.Random) -> list[int] | None:
    """Go as if keys vanished in their doors, and lay them down after those."""
    way, actions = shortest_way(replace(maze, keys_vanish=True), position, rng), list[int]()
    used = NO_KEY
    for action in way or ():
        if used != NO_KEY and position.cells[_front(maze, position)] == EMPTY:
            position, used = moved(maze, position, DROP), NO_KEY
            actions.append(DROP)
        opens = action == TOGGLE and position.cells[_front(maze, position)] & KIND == LOCKED
        position = moved(maze, position, action)
        actions.append(action)
        used = position.carrying if opens else used
    return actions if way and maze.outcome(position) == "won" else None


def shortest_way(maze: Maze, position: Position, rng: random.Random) -> list[int] | None:
    """Search breadth first; None where there is no way, or where too much was looked at."""
    came_from: dict[Position, tuple[Position, int] | None] = {position: None}
    front = [position]
    while front and len(came_from) < MOST_POSITIONS:
        following = []
        for before in front:
            for action in _worth_trying(maze, before):
                after = moved(maze, before, action)
                if after in came_from or after.cells[after.cell] == LAVA:
                    continue
                came_from[after] = before, action
                if maze.outcome(after) == "won":
                    return _path(came_from, after)
                following.append(after)
        rng.shuffle(following)
        front = following
    return None


def _worth_trying(maze: Maze, position: Position) -> Iterator[int]:
    """Yield what may change the position."""
    cell, _, carrying, cells, _ = position
    here, ahead = cells[cell] & KIND, cells[_front(maze, position)]
    yield LEFT
    yield RIGHT
    may_push = maze.block_target and pushes(maze, position, FORWARD)
    if ahead in ENTERABLE or ahead & KIND == KEY or cells[cell] == TELEPORTER or may_push:
        yield FORWARD
    if carrying == NO_KEY and KEY in (here, ahead & KIND):
        yield PICKUP
    fits = ahead & KIND == LOCKED and carrying == ahead & COLOR
    if fits or here == SWITCH or ahead & KIND in (CLOSED, OPEN, *BLOCKS):
        yield TOGGLE


def _path(came_from: dict[Position, tuple[Position, int] | None], position: Position) -> list[int]:
    actions = []
    while (before := came_from[position]) is not None:
        position, action = before
        actions.append(action)
    return actions[::-1]
