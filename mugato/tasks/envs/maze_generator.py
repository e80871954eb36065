"""New mazes of the kinds that MultiNet v2.0 asks for, and more; each can be solved.

Walls are drawn first: an open room, rooms within rooms, winding walls, or corridors in solid rock.
Where the way from start to goal must pass, doors and gates are put, and the key or the switch of
each on the near side of it. Whatever is drawn is solved; what cannot be is drawn again, and so
are the walls of a public task, its mirror images and rotations.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from mugato.system.errors import did_you_mean
from mugato.tasks.envs.maze_walls import (
    LAYOUTS,
    MOVES,
    PUBLIC_WALLS,
    Draft,
    distances,
    wall_form,
    walls_of,
    way_between,
)
from mugato.tasks.experts.mazes import (
    BLOCK,
    COLORS,
    GATE,
    GOAL,
    KEY,
    LAVA,
    LOCKED,
    SWITCH,
    TELEPORTER,
    Cell,
    Maze,
    Thing,
    shortest_way,
)

LEVELS = ("empty", "corridors", "keys", "switches", "chains", "teleporters", "all")
WIDTHS, HEIGHTS = range(8, 21, 2), range(6, 13, 2)
LOCK_COLORS = tuple(COLORS.index(c) for c in ("red", "green", "blue", "yellow", "purple"))
YELLOW = COLORS.index("yellow")
SHARES = (1, 2, 2, 2, 3, 1)  # of the levels among all
FEWEST_MOVES, MOST_MOVES = 4, 90
REACH = (
    "Reach the green square.", "Go to the goal.", "Reach the goal.",
    "Get to the green goal square.", "Navigate to the goal",
    "Find a way through the maze to the goal", "Move to the green tile.",
    "Find the way to the goal room",
)  # fmt: skip


def new_maze(rng: np.random.Generator, level: str = "all") -> Maze:
    """Draw a maze that can be solved.

    Raises:
        ValueError: for a level that there is not.
    """
    if level not in LEVELS:
        raise ValueError(
            f"no mazes {level!r}; there are {', '.join(LEVELS)}{did_you_mean(level, LEVELS)}"
        )
    dice = random.Random(int(rng.integers(2**62)))  # draws single numbers ten times as fast
    while True:
        kind = dice.choices(LEVELS[:-1], SHARES)[0] if level == "all" else level
        draft = drawn(dice, kind)
        if draft is None:
            continue
        maze = _finished(draft, dice)
        actions = shortest_way(maze, maze.first_position, dice)
        if actions is None or not FEWEST_MOVES <= len(actions) <= MOST_MOVES:
            continue
        return replace(maze, max_steps=max(50, -(-4 * len(actions) // 10) * 10))


def drawn(dice: random.Random, level: str) -> Draft | None:
    """Draw a level; None where the walls leave no place for what should stand there."""
    draw = LAYOUTS[level]
    width, height = dice.choice(WIDTHS), dice.choice(HEIGHTS)
    draft = dice.choice(draw)(dice, width, height)
    if wall_form(width, height, walls_of(draft)) in PUBLIC_WALLS:
        return None
    cells = draft.open_cells()
    draft.start = (1, 1) if dice.random() < 0.4 and (1, 1) in cells else dice.choice(cells)
    draft.goal = dice.choice(_far(draft, dice))
    if draft.goal == draft.start:
        return None
    draft.things.append(Thing(cell=draft.goal, code=GOAL))
    if level in LOCKS and not _lock(draft, dice, LOCKS[level](dice)):
        return None
    if level in ("chains", "teleporters"):
        _add_obstacles(draft, dice)
    return draft


LOCKS: dict[str, Callable[[random.Random], list[str]]] = {
    "keys": lambda dice: ["door"] * dice.choice((1, 1, 2)),
    "switches": lambda dice: ["gate"] * dice.choice((1, 1, 2)),
    "chains": lambda dice: [dice.choice(("door", "gate")) for _ in range(dice.choice((2, 2, 3)))],
}


def _far(draft: Draft, dice: random.Random) -> list[Cell]:
    """Return where the goal may be: often the farther half of what can be reached."""
    reached = distances(draft.free, draft.start)
    if draft.teleporters:  # what can be walked to is not what they are for
        return [cell for cell in draft.open_cells() if cell not in reached] or [draft.start]
    cells = sorted(reached, key=lambda cell: (reached[cell], cell))
    if dice.random() < 0.3:
        return cells[-1:]
    return cells[len(cells) // 2 :] if dice.random() < 0.7 else cells


def _finished(draft: Draft, dice: random.Random) -> Maze:
    return Maze(
        width=draft.width,
        height=draft.height,
        walls=frozenset(walls_of(draft)),
        start=draft.start,
        target=draft.goal,
        things=tuple(draft.things),
        teleporters=tuple(draft.teleporters),
        max_steps=1,  # known once it is solved
        mission=said(draft, dice),
    )


def said(draft: Draft, dice: random.Random) -> str:
    """Say what to do in one of many ways, or not at all."""
    reach, chance = dice.choice(REACH), dice.random()
    if chance < 0.3:
        return ""
    if not draft.hints or chance < 0.5:
        return reach
    hints = draft.hints if dice.random() < 0.7 else [dice.choice(draft.hints)]
    said = f"{', then '.join(hints)}, then {reach[0].lower()}{reach[1:].rstrip('.')}"
    return said[0].upper() + said[1:] + dice.choice((".", ""))


def _lock(draft: Draft, dice: random.Random, kinds: list[str]) -> bool:
    """Put doors and gates where the way must pass, their keys and switches before them."""
    places = list(_chokes(draft))
    if len(places) < len(kinds):
        return False
    locked = [places[i] for i in sorted(dice.sample(range(len(places)), len(kinds)))]
    colors = dice.sample(LOCK_COLORS, len(LOCK_COLORS))
    reached = set[Cell]()
    for i, kind in enumerate(kinds):
        before, reached = reached, set(distances(draft.free, draft.start, locked[i:]))
        cells = [cell for cell in draft.open_cells() if cell in reached]
        behind = [cell for cell in cells if cell not in before]  # the last lock
        chosen = behind if behind and dice.random() < 0.75 else cells
        chosen = [cell for cell in chosen if cell not in locked]
        if not chosen:
            return False
        _add_lock(draft, dice, kind, locked[i], dice.choice(chosen), colors.pop())
    _add_decoys(draft, dice, colors)
    return True


def _chokes(draft: Draft) -> Iterator[Cell]:
    """Yield doorways on the way that cannot be gone around."""
    for x, y in way_between(draft.free, draft.start, draft.goal)[1:-1]:
        sides = [(x + dx, y + dy) not in draft.free for dx, dy in MOVES]
        narrow = (sides[0] and sides[2]) or (sides[1] and sides[3])
        if narrow and draft.goal not in distances(draft.free, draft.start, [(x, y)]):
            yield x, y


def _add_lock(
    draft: Draft, dice: random.Random, kind: str, place: Cell, opener: Cell, color: int
) -> None:
    if kind == "door":
        draft.things += [
            Thing(cell=opener, code=KEY | color),
            Thing(cell=place, code=LOCKED | color),
        ]
        name = COLORS[color]
        draft.hints.append(dice.choice((
            f"use the {name} key to open the {name} door", f"get the {name} key",
            f"collect the {name} key to unlock the {name} door", f"unlock the {name} door",
        )))  # fmt: skip
        return
    switch = YELLOW if dice.random() < 0.8 else dice.choice(LOCK_COLORS)
    draft.things += [
        Thing(cell=place, code=GATE),
        Thing(cell=opener, code=SWITCH | switch, gates=(place,), one_shot=dice.random() < 0.1),
    ]
    draft.hints.append(dice.choice((
        "press the switch to open the gate", "activate the switch", "trigger the switch",
        "find the switch that controls the gate",
    )))  # fmt: skip


def _add_decoys(draft: Draft, dice: random.Random, colors: list[int]) -> None:
    """Put keys that open nothing, and doors and gates that lead nowhere."""
    way = set(way_between(draft.free, draft.start, draft.goal))
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        color, cells = colors.pop(), draft.open_cells()
        doorways = [c for c in cells if c not in way and _is_doorway(draft, c)]
        if len(cells) < 4:
            return
        place = dice.choice(cells)
        if doorways and dice.random() < 0.5:
            door = dice.choice(doorways)
            if place != door:
                _add_lock(draft, dice, dice.choice(("door", "gate")), door, place, color)
                draft.hints.pop()
        else:
            draft.things.append(Thing(cell=place, code=KEY | color))


def _is_doorway(draft: Draft, cell: Cell) -> bool:
    x, y = cell
    walls = [(x + dx, y + dy) not in draft.free for dx, dy in MOVES]
    return walls in ([True, False, True, False], [False, True, False, True])


def _add_obstacles(draft: Draft, dice: random.Random) -> None:
    """Add a block, lava or teleporters to every second maze."""
    cells = draft.open_cells()
    if dice.random() < 0.5 or len(cells) < 8:
        return
    dice.shuffle(cells)
    match dice.choice(("block", "lava", "teleporters")):
        case "block":
            grey = COLORS.index("grey")
            codes = [
                BLOCK | dice.choice((grey, grey, *LOCK_COLORS)) for _ in range(dice.randint(1, 2))
            ]
            draft.things += [Thing(cell=cells.pop(), code=code) for code in codes]
        case "lava":
            draft.things += [Thing(cell=cells.pop(), code=LAVA) for _ in range(dice.randint(1, 3))]
        case "teleporters":
            a, b, both = cells.pop(), cells.pop(), dice.random() < 0.6
            draft.things += [Thing(cell=a, code=TELEPORTER), Thing(cell=b, code=TELEPORTER)]
            draft.teleporters.append((a, b, both))
