"""MiniGrid's missions in the words that BabyAI's bot understands.

A mission is made from the freshly reset world; the worlds keep what they ask for in attributes.
"""

from collections.abc import Callable
from typing import Any

from mugato.tasks.task import require

Mission = Callable[[Any], Any]  # from a world to an instruction of BabyAI's verifier


def go_to_goal(world: Any) -> Any:
    """Step onto the green square."""
    return _instruction("GoToInstr", _description(world, kind="goal", color=None))


def go_to_door(world: Any) -> Any:
    return _instruction("GoToInstr", _description(world, kind="door", color=world.target_color))


def go_to_object(world: Any) -> Any:
    wanted = _description(world, kind=world.targetType, color=world.target_color)
    return _instruction("GoToInstr", wanted)


def fetch(world: Any) -> Any:
    wanted = _description(world, kind=world.targetType, color=world.targetColor)
    return _instruction("PickupInstr", wanted)


def pick_up(world: Any) -> Any:
    wanted = _description(world, kind=world.obj.type, color=world.obj.color)
    return _instruction("PickupInstr", wanted)


def put_near(world: Any) -> Any:
    moved = _description(world, kind=world.move_type, color=world.moveColor)
    fixed = _description(world, kind=world.target_type, color=world.target_color)
    return _instruction("PutNextInstr", moved, fixed)


def open_the_door(world: Any) -> Any:
    return _open(world, world.door.color)


def open_red_then_blue(world: Any) -> Any:
    return _instruction("BeforeInstr", _open(world, "red"), _open(world, "blue"))


def go_to_the_same(world: Any) -> Any:
    """Look at the object in the first room, then go where there is one like it."""
    middle = world.height // 2
    first = _at(world, (1, middle - 1))
    column, row = world.success_pos
    same = _at(world, (int(column), int(row)))
    go_to = [_instruction("GoToInstr", place) for place in (first, same)]
    return _instruction("BeforeInstr", *go_to)


def _open(world: Any, color: str) -> Any:
    return _instruction("OpenInstr", _description(world, kind="door", color=color))


def _instruction(name: str, *arguments: Any) -> Any:
    verifier = require("minigrid.envs.babyai.core.verifier", extra="minigrid")
    return getattr(verifier, name)(*arguments)


def _description(world: Any, *, kind: str, color: str | None) -> Any:
    """All objects of a kind and color, with their places."""
    places = [(i, j) for i in range(world.grid.width) for j in range(world.grid.height)]
    things = {place: world.grid.get(*place) for place in places}
    found = {
        place: thing
        for place, thing in things.items()
        if thing is not None and thing.type == kind and color in (None, thing.color)
    }
    return _wanted(found, kind=kind, color=color)


def _at(world: Any, place: tuple[int, int]) -> Any:
    """Whatever is at a place; an empty one counts as floor."""
    objects = require("minigrid.core.world_object", extra="minigrid")
    thing = world.grid.get(*place) or objects.Floor()
    return _wanted({place: thing}, kind=thing.type, color=thing.color)


def _wanted(things: dict[tuple[int, int], Any], *, kind: str, color: str | None) -> Any:
    wanted = require("minigrid.envs.babyai.core.verifier", extra="minigrid").ObjDesc(None)
    wanted.type = kind  # the constructor only takes the types that BabyAI has words for
    wanted.color = color
    wanted.obj_poss, wanted.obj_set = list(things), list(things.values())
    return wanted
