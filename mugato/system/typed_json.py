"""JSON to values of declared types; what is of another type is named with the place it stands at.

What was written by `dataclasses.asdict` is read by the types of the fields. A file that somebody
has edited, or a disk has spoiled, is refused where it is read, not where its value is first used.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it cannot be read, or holds something else; names the file.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def from_json(hint: Any, value: Any, where: str) -> Any:
    """Make a value of a type: a dataclass and those within it, tuples, mappings, paths, numbers.

    Args:
        where: the place of the value, which begins errors: a file, or "file: key.key".

    Raises:
        ValueError: a value of another type, a key that is unknown or missing, or what a dataclass
            refuses.

    >>> from_json(tuple[float, ...], [1, 0.5], "betas")
    (1.0, 0.5)
    >>> from_json(int | None, "7", "history")
    Traceback (most recent call last):
    ValueError: history must be of type int | None, got '7'
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(hint, _of(dict, hint, value, where), where)
    if origin is Annotated:
        return from_json(arguments[0], value, where)
    if origin in (Union, UnionType):
        return _first_that_fits(hint, arguments, value, where)
    if origin is Literal:
        _require(any(value is a or value == a for a in arguments), hint, value, where)
        return value
    if origin is tuple:
        return _tuple(hint, arguments, _of(list, hint, value, where), where)
    if origin in (list, Sequence):
        items = enumerate(_of(list, hint, value, where))
        return [from_json(arguments[0], item, f"{where}[{i}]") for i, item in items]
    if origin in (dict, Mapping):
        items = _of(dict, hint, value, where).items()
        return {key: from_json(arguments[1], item, within(where, key)) for key, item in items}
    return _plain(hint, value, where)


def within(where: str, key: str) -> str:
    """Name the place of a value within another.

    >>> within("run/config.json", "model"), within("run/config.json: model", "width")
    ('run/config.json: model', 'run/config.json: model.width')
    """
    return f"{where}{'.' if ': ' in where else ': '}{key}"


def _plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Path:
        return Path(_of(str, hint, value, where))
    if hint is float:
        return float(_of((int, float), hint, value, where))
    return _of(hint, hint, value, where)


def _dataclass(cls: Callable[..., Any], data: Mapping[str, Any], where: str) -> Any:
    known = {field.name: field for field in fields(cls)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    needed = [f.name for f in known.values() if f.default is f.default_factory is MISSING]
    if missing := sorted(set(needed) - set(data)):
        raise ValueError(f"{where} has no {', '.join(map(repr, missing))}")
    hints = get_type_hints(cls, include_extras=True)
    values = {name: from_json(hints[name], data[name], within(where, name)) for name in data}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _tuple(hint: Any, arguments: tuple, items: list, where: str) -> tuple:
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(items)
    _require(len(arguments) == len(items), hint, items, where)
    pairs = enumerate(zip(arguments, items, strict=True))
    return tuple(from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)


def _first_that_fits(hint: Any, kinds: tuple, value: Any, where: str) -> Any:
    others = [kind for kind in kinds if kind is not NoneType]
    if value is None and len(others) < len(kinds):
        return None
    for kind in others:
        try:
            return from_json(kind, value, where)
        except ValueError:
            if len(others) == 1 and get_origin(kind):  # what is within says more
                raise
    _require(False, hint, value, where)


def _of(kind: Any, hint: Any, value: Any, where: str) -> Any:
    # JSON's true and false are numbers to Python alone.
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    _require(fits, hint, value, where)
    return value


def _require(fits: bool, hint: Any, value: Any, where: str) -> None:
    if not fits:
        name = hint.__name__ if isinstance(hint, type) and not get_origin(hint) else hint
        raise ValueError(f"{where} must be of type {name}, got {repr(value)[:60]}")
