"""Where a new maze has walls: an open room, rooms in rooms, winding walls, corridors in rock."""

import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mugato.tasks.experts.mazes import TELEPORTER, Cell, Thing

MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))
# Walls of the benchmark's public tasks, as `wall_form` tells them.
PUBLIC_WALLS = frozenset({
    "e9b8c754207c6cb7", "ef87997a26e105d5", "eeb57c5740e46275", "8f290a9b097a2158",
    "73b22ed16eb88db2", "40a2f02e105e9501", "838205fc5726da12",
    "243f6f3f51d2e149", "6db545ecc6f3988b", "1a13bf761010ccf0", "b1b4c5291891e308",
    "ebdeb34822601917", "6af0cb8a12a15dd6", "7fe95424ce646190", "866e450f685764c6",
})  # fmt: skip


@dataclass(kw_only=True)
class Draft:
    """A maze in the making.

    Attributes:
        free: cells without a wall.
        hints: what the mission may say of them.
    """

    width: int
    height: int
    free: set[Cell]
    start: Cell = (0, 0)
    goal: Cell = (0, 0)
    things: list[Thing] = field(default_factory=list)
    teleporters: list[tuple[Cell, Cell, bool]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def open_cells(self) -> list[Cell]:
        """Return the free cells in which nothing stands."""
        taken = {self.start, self.goal, *(thing.cell for thing in self.things)}
        return sorted(self.free - taken)


def walls_of(draft: Draft) -> list[Cell]:
    """Return the cells within the border that are not free."""
    inside = _inside(draft.width, draft.height)
    return sorted(set(inside) - draft.free)


def _inside(width: int, height: int) -> list[Cell]:
    return [(x, y) for x in range(1, width - 1) for y in range(1, height - 1)]


def open_room(dice: random.Random, width: int, height: int) -> Draft:
    """No walls but the border's."""
    return Draft(width=width, height=height, free=set(_inside(width, height)))


def rooms(dice: random.Random, width: int, height: int) -> Draft:
    """Rooms split off one another, one doorway each; often a second way somewhere."""
    free = set(_inside(width, height))
    areas, doorways = [(1, 1, width - 2, height - 2)], set[Cell]()
    for _ in range(dice.randint(1, 4)):
        x, y, wide, high = areas.pop(
            max(range(len(areas)), key=lambda i: areas[i][2] * areas[i][3])
        )
        upright = wide >= high
        # A wall must not end at a doorway.
        places = [at for at in range(2, (wide if upright else high) - 2)
                  if not _touches(doorways, (x, y, wide, high), at, upright)]  # fmt: skip
        if not places or min(wide, high) < 2:
            areas.append((x, y, wide, high))
            break
        at = dice.choice(places)
        wall = [
            (x + at, y + i) if upright else (x + i, y + at)
            for i in range(high if upright else wide)
        ]
        gaps = dice.sample(wall, 2 if dice.random() < 0.1 else 1)
        free -= set(wall) - set(gaps)
        doorways |= set(gaps)
        areas += ([(x, y, at, high), (x + at + 1, y, wide - at - 1, high)] if upright
                  else [(x, y, wide, at), (x, y + at + 1, wide, high - at - 1)])  # fmt: skip
    return Draft(width=width, height=height, free=free)


def _touches(
    doorways: Iterable[Cell], area: tuple[int, int, int, int], at: int, upright: bool
) -> bool:
    x, y, wide, high = area
    ends = (
        [(x + at, y - 1), (x + at, y + high)] if upright else [(x - 1, y + at), (x + wide, y + at)]
    )
    return any(end in doorways for end in ends)


def winding(dice: random.Random, width: int, height: int) -> Draft:
    """Draw walls from side to side that leave a gap at alternating ends."""
    free = set(_inside(width, height))
    upright = dice.random() < 0.6
    length, across = (width, height) if upright else (height, width)
    at, last = dice.randint(2, 3), dice.random() < 0.5
    while at < length - 2:
        gap = (across - 2 if last else 1) if dice.random() < 0.9 else dice.randint(1, across - 2)
        wall = [i for i in range(1, across - 1) if i != gap]
        free -= {(at, i) if upright else (i, at) for i in wall}
        at, last = at + dice.choice((2, 2, 3, 4)), not last
    return Draft(width=width, height=height, free=free)


def chambers(dice: random.Random, width: int, height: int) -> Draft:
    """Rooms, of which a wall cuts some off: only teleporters lead there."""
    draft = rooms(dice, width, height)
    at = dice.randrange(3, width - 3)
    cut = {(at, y) for y in range(1, height - 1)}
    ends = [
        dice.choice(sorted(c for c in draft.free - cut if (c[0] < at) == left))
        for left in (True, False)
    ]
    dice.shuffle(ends)
    draft.free -= cut
    draft.things += [Thing(cell=end, code=TELEPORTER) for end in ends]
    draft.teleporters.append((ends[0], ends[1], dice.random() < 0.7))
    return draft


def corridors(dice: random.Random, width: int, height: int) -> Draft:
    """Draw corridors in solid rock, with one way between any two places, at times a few more."""
    cells = {(x, y) for x in range(1, width - 1, 2) for y in range(1, height - 1, 2)}
    free, stack = {(1, 1)}, [(1, 1)]
    straight = dice.choice((0.0, 0.5))  # corridors that go on as they go
    move = (1, 0)
    while stack:
        x, y = stack[-1]
        ways = [m for m in MOVES if (x + 2 * m[0], y + 2 * m[1]) in cells - free]
        if not ways:
            stack.pop()
            continue
        move = move if move in ways and dice.random() < straight else dice.choice(ways)
        free |= {(x + move[0], y + move[1]), (x + 2 * move[0], y + 2 * move[1])}
        stack.append((x + 2 * move[0], y + 2 * move[1]))
    draft = Draft(width=width, height=height, free=free)
    if dice.random() < 0.3:
        draft.free |= set(dice.sample(walls_of(draft), min(3, len(walls_of(draft)))))
        draft.free = set(distances(draft.free, (1, 1)))
    return draft


def one_way(dice: random.Random, width: int, height: int) -> Draft:
    """Draw a single corridor that winds through solid rock."""
    draft = winding(dice, width, height)
    pairs = (dice.sample(sorted(draft.free), 2), [(1, 1), (width - 2, height - 2)])
    way = max((way_between(draft.free, start, end) for start, end in pairs), key=len)
    return Draft(width=width, height=height, free=set(way))


LAYOUTS: dict[str, tuple[Callable[[random.Random, int, int], Draft], ...]] = {
    "empty": (open_room,),
    "corridors": (winding, corridors, one_way, rooms),
    "keys": (rooms, rooms, rooms, winding, corridors),
    "switches": (rooms, rooms, rooms, winding, corridors),
    "chains": (rooms, rooms, rooms, winding, corridors),
    "teleporters": (chambers,),
}


def distances(free: set[Cell], start: Cell, without: Iterable[Cell] = ()) -> dict[Cell, int]:
    """Return how far each cell is that can be reached."""
    shut = set(without)
    found, waiting = {start: 0}, deque([start])
    while waiting:
        x, y = cell = waiting.popleft()
        for dx, dy in MOVES:
            beside = x + dx, y + dy
            if beside in free and beside not in found and beside not in shut:
                found[beside] = found[cell] + 1
                waiting.append(beside)
    return found


def way_between(free: set[Cell], start: Cell, end: Cell) -> list[Cell]:
    """Return the cells from start to end, both included; only the end's where none leads there."""
    reached, way = distances(free, start), [end]
    while way[-1] != start and way[-1] in reached:
        x, y = way[-1]
        way.append(min(((x + dx, y + dy) for dx, dy in MOVES if (x + dx, y + dy) in reached),
                       key=reached.__getitem__))  # fmt: skip
    return way[::-1]


def wall_form(width: int, height: int, walls: Iterable[Cell]) -> str:
    """Return a short name of walls, the same for all their mirror images and rotations.

    >>> wall_form(4, 6, [(1, 2)]) == wall_form(6, 4, [(3, 1)]) == wall_form(6, 4, [(2, 2)])
    True
    """
    inner = [(x, y) for x, y in walls if 0 < x < width - 1 and 0 < y < height - 1]
    forms = []
    for wide, high, cells in ((width, height, inner), (height, width, [(y, x) for x, y in inner])):
        for flip_x in (False, True):
            for flip_y in (False, True):
                flipped = sorted(
                    (wide - 1 - x if flip_x else x, high - 1 - y if flip_y else y) for x, y in cells
                )
                forms.append(json.dumps([wide, high, flipped]))
    return hashlib.sha256(min(forms).encode()).hexdigest()[:16]
