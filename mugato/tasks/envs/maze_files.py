"""Task files of MultiNet v2.0 (JSON) to mazes, and back; what does not fit is refused by name."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mugato.system.typed_json import read_json
from mugato.tasks.experts.mazes import (
    BLOCK,
    BLOCKS,
    CLOSED,
    COLOR,
    COLORS,
    GATE,
    GOAL,
    KEY,
    KIND,
    LAVA,
    LOCKED,
    OPEN_GATE,
    SWITCH,
    TELEPORTER,
    WANTED_BLOCK,
    Cell,
    Maze,
    Thing,
)

LISTS = ("keys", "doors", "gates", "switches", "blocks", "hazards", "teleporters")
# Others are in the benchmark's schema, and in none of its tasks.
GOALS = ("reach_position", "push_block_to")
KINDS = ("toggle", "hold", "one_shot")
SMALLEST, MOST_CELLS = 3, 1000


def read_maze(path: Path) -> Maze:
    """Read a task file.

    Raises:
        ValueError: the file cannot be read, or is no maze that can be played; names file and place.
    """
    try:
        return maze_of(read_json(path), name=path.stem)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from None


def maze_of(task: Any, *, name: str = "") -> Maze:
    """Make a maze of a task file's content.

    Raises:
        ValueError: a part is missing or of another type, things overlap or stand in walls, a door
            has no key, a switch no gate.
    """
    maze, found = _part(task, "maze", dict), _part(task, "mechanisms", dict, {})
    listed = {name: _entries(found, name) for name in LISTS}
    width, height = _cell(maze, "dimensions")
    if min(width, height) < SMALLEST:
        raise ValueError(f"maze.dimensions must be at least {SMALLEST}, got {width} x {height}")
    goal = _part(task, "goal", dict)
    kind = goal.get("type")
    if kind not in GOALS:
        raise ValueError(f"goal.type must be one of {', '.join(GOALS)}, got {kind!r}")
    target = _cell(goal, "target") if kind == "reach_position" else _block_target(goal)
    gates = {str(gate.get("id")): _cell(gate, "position") for gate in listed["gates"]}
    rules = _part(task, "rules", dict, {})
    wanted = goal.get("target_ids") if kind == "push_block_to" else []
    _check_doors(listed)
    goals = [Thing(cell=_cell(maze, "goal"), code=GOAL)] if maze.get("goal") else []
    things = [*goals, *_things(listed, gates, rules, wanted)]
    walls = frozenset(_cell({"walls": wall}, "walls") for wall in _part(maze, "walls", list, []))
    made = Maze(
        width=width,
        height=height,
        walls=walls,
        start=_cell(maze, "start"),
        target=target,
        things=tuple(things),
        teleporters=tuple(_teleporters(listed["teleporters"])),
        keys_vanish=_part(rules, "key_consumption", bool, True),
        block_target=kind == "push_block_to",
        max_steps=_part(task, "max_steps", int),
        mission=str(task.get("description") or ""),
        name=str(task.get("task_id") or name),
    )
    _check(made)
    return made


def task_of(maze: Maze) -> dict[str, Any]:
    """Return what a task file holds of a maze that is won by reaching a place.

    >>> maze = Maze(width=5, height=4, walls=frozenset(), start=(1, 1), target=(3, 2))
    >>> maze_of(task_of(maze)) == maze
    True
    """
    goal = [list(thing.cell) for thing in maze.things if thing.code == GOAL]
    return {
        "task_id": maze.name,
        "version": "1.0",
        "description": maze.mission,
        "maze": {
            "dimensions": [maze.width, maze.height],
            "walls": sorted(list(wall) for wall in maze.walls),
            "start": list(maze.start),
            **({"goal": goal[0]} if goal else {}),
        },
        "mechanisms": _mechanisms(maze),
        "rules": {"key_consumption": maze.keys_vanish},
        "goal": {"type": "reach_position", "target": list(maze.target)},
        "max_steps": maze.max_steps,
    }


def _mechanisms(maze: Maze) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    for thing in maze.things:
        color = COLORS[thing.code & COLOR]
        entry: dict[str, Any] = {"id": _id(thing.cell), "position": list(thing.cell)}
        kind = thing.code & KIND
        if kind == KEY:
            found["keys"].append({**entry, "color": color})
        elif kind == SWITCH:
            switch_type = "hold" if thing.hold else "one_shot" if thing.one_shot else "toggle"
            controls = [_id(cell) for cell in thing.gates]
            state = "on" if thing.on else "off"
            switch = {"color": color, "switch_type": switch_type, "initial_state": state}
            found["switches"].append({**entry, **switch, "controls": controls})
        elif kind in BLOCKS:
            found["blocks"].append({**entry, "color": color})
        elif kind in (LOCKED, CLOSED):
            state = "locked" if kind == LOCKED else "open"
            found["doors"].append({**entry, "requires_key": color, "initial_state": state})
        elif kind in (GATE, OPEN_GATE):
            found["gates"].append({**entry, "initial_state": "open" if thing.on else "closed"})
        elif thing.code == LAVA:
            found["hazards"].append({**entry, "hazard_type": "lava"})
    found["teleporters"] = [
        {"id": _id(a), "position_a": list(a), "position_b": list(b), "bidirectional": both}
        for a, b, both in maze.teleporters
    ]
    return found


def _id(cell: Cell) -> str:
    return f"at_{cell[0]}_{cell[1]}"


def _things(
    listed: Mapping[str, list[Any]],
    gates: Mapping[str, Cell],
    rules: Mapping[str, Any],
    wanted: Any,
) -> Iterator[Thing]:
    """Yield what stands in cells, in the order in which the benchmark's world places it."""
    for key in listed["keys"]:
        yield Thing(cell=_cell(key, "position"), code=KEY | _color(key, "color"))
    for door in listed["doors"]:
        locked = _choice(door, "initial_state", ("locked", "open")) == "locked"
        color = _color(door, "requires_key")
        yield Thing(cell=_cell(door, "position"), code=(LOCKED if locked else CLOSED) | color)
    for gate in listed["gates"]:
        is_open = _choice(gate, "initial_state", ("closed", "open")) == "open"
        code = OPEN_GATE if is_open else GATE
        yield Thing(cell=_cell(gate, "position"), code=code, on=is_open)
    for switch in listed["switches"]:
        yield _switch(switch, gates, str(rules.get("switch_type", "toggle")))
    for block in listed["blocks"]:
        kind = WANTED_BLOCK if wanted is None or block.get("id") in wanted else BLOCK
        yield Thing(cell=_cell(block, "position"), code=kind | _color(block, "color", "grey"))
    for hazard in listed["hazards"]:
        yield Thing(cell=_cell(hazard, "position"), code=LAVA)
    for teleporter in listed["teleporters"]:
        for end in ("position_a", "position_b"):
            yield Thing(cell=_cell(teleporter, end), code=TELEPORTER)


def _switch(switch: Any, gates: Mapping[str, Cell], switch_type: str) -> Thing:
    kind = _choice({"switch_type": switch_type, **switch}, "switch_type", KINDS)
    controls = [str(gate) for gate in _part(switch, "controls", list, [])]
    if unknown := [gate for gate in controls if gate not in gates]:
        raise ValueError(f"switch {switch.get('id')!r} controls {unknown[0]!r}, which is no gate")
    return Thing(
        cell=_cell(switch, "position"),
        code=SWITCH | _color(switch, "color", "yellow"),
        on=_choice(switch, "initial_state", ("off", "on")) == "on",
        hold=kind == "hold",
        one_shot=kind == "one_shot",
        gates=tuple(gates[gate] for gate in controls),
    )


def _teleporters(listed: Sequence[Any]) -> Iterator[tuple[Cell, Cell, bool]]:
    for one in listed:
        both = bool(one.get("bidirectional", True))
        yield _cell(one, "position_a"), _cell(one, "position_b"), both


def _block_target(goal: Mapping[str, Any]) -> Cell:
    targets = _part(goal, "target_positions", list)
    if len(targets) != 1:
        raise ValueError(f"goal.target_positions must name one place, got {len(targets)}")
    return _cell({"target_positions": targets[0]}, "target_positions")


def _entries(found: Any, name: str) -> list[dict[str, Any]]:
    entries = _part(found, name, list, [])
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"{name} must hold objects, got {entry!r:.60}")
    return entries


def _choice(entry: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    """Return one of the known values, the first where none is given."""
    value = entry.get(name, known[0])
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, got {value!r}")
    return value


def _part(task: Any, name: str, kind: type, default: Any = None) -> Any:
    value = task.get(name, default) if isinstance(task, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r:.60}")
    return value


def _cell(task: Any, name: str) -> Cell:
    value = _part(task, name, list)
    if len(value) != 2 or not all(type(n) is int and 0 <= n < MOST_CELLS for n in value):
        raise ValueError(f"{name} must be two whole numbers, got {json.dumps(value):.60}")
    return value[0], value[1]


def _color(task: Mapping[str, Any], name: str, default: str | None = None) -> int:
    """Return a color's number; the benchmark draws what it does not know in grey."""
    value = task.get(name, default)
    return COLORS.index(value if value in COLORS else "grey")


def _check(maze: Maze) -> None:
    """Refuse what the benchmark refuses."""
    taken: dict[Cell, Thing] = {}
    for thing in maze.things:
        if thing.cell[0] >= maze.width or thing.cell[1] >= maze.height:
            raise ValueError(f"{thing.cell} lies outside of {maze.width} x {maze.height} cells")
        in_wall = thing.cell in maze.walls or maze.is_border(thing.cell)
        if in_wall and thing.code & KIND not in (LOCKED, CLOSED, GATE, OPEN_GATE):
            raise ValueError(f"what stands at {thing.cell} stands in a wall")
        if thing.cell in taken:
            raise ValueError(f"two things stand at {thing.cell}")
        taken[thing.cell] = thing
    if outside := [w for w in maze.walls if w[0] >= maze.width or w[1] >= maze.height]:
        raise ValueError(f"wall {outside[0]} lies outside of {maze.width} x {maze.height} cells")
    if maze.max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {maze.max_steps}")
    for name, cell in (("start", maze.start), ("goal.target", maze.target)):
        if cell in maze.walls or maze.is_border(cell):
            raise ValueError(f"{name} {cell} is no free cell")


def _check_doors(listed: Mapping[str, list[Any]]) -> None:
    """Refuse a door that no key opens, by the names of their colors, known or not."""
    colors = [key.get("color") for key in listed["keys"]]
    for door in listed["doors"]:
        if door.get("requires_key") not in colors:
            raise ValueError(
                f"the door at {door.get('position')} has no {door.get('requires_key')} key"
            )
