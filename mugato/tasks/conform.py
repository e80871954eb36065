"""Values as their space wants them: type and shape settled, what does not belong refused.

Experts return Python integers, lists, float64; environments return what they like. Rounding to the
space's element type is allowed, changing a value is not.
"""

from copy import deepcopy
from functools import singledispatch
from typing import Any

import numpy as np
from gymnasium import spaces

from mugato.spec import finite_bounds

ROUNDING = 1e-5  # relative to the bound: from float64 to float32 and a little arithmetic


def detached(value: Any) -> Any:
    """Return a copy that shares no memory with a value, its tensors as arrays.

    >>> buffer = np.zeros(2)
    >>> kept = detached({"position": buffer})
    >>> buffer += 1
    >>> kept
    {'position': array([0., 0.])}
    """
    if type(value) in (int, float, bool, str) or value is None:
        return value
    if isinstance(value, dict):
        return {key: detached(part) for key, part in value.items()}
    if type(value) is tuple:
        return tuple(map(detached, value))
    if type(value) is list:
        return [*map(detached, value)]
    if not hasattr(value, "detach"):
        return deepcopy(value)
    tensor = value.detach().cpu()  # NumPy knows no bfloat16
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy().copy()


class NotInSpaceError(ValueError):
    """A value that its space does not contain: a fault of whoever made it, not bad luck."""


def as_array(
    value: Any, *, dtype: np.dtype | None, shape: tuple[int, ...] | None, where: str
) -> np.ndarray:
    """Return `value` as an array of a space's type and shape, whatever its bounds.

    Raises:
        NotInSpaceError: wrong shape, or a value that the type cannot hold.
    """
    dtype = np.dtype(dtype)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list, an object that is not a number
        array = np.array(None)
    integers = array.dtype.kind in "iub" and dtype.kind in "iub"
    if not (integers or np.can_cast(array.dtype, dtype, casting="same_kind")):
        raise NotInSpaceError(f"{where} is of type {array.dtype}, not {dtype}: {_shown(value)}")
    if array.shape != shape:
        raise NotInSpaceError(f"{where} has shape {array.shape}, expected {shape}")
    cast = array.astype(dtype, copy=False)
    if integers and array.dtype != dtype and (cast != array).any():
        raise NotInSpaceError(f"{where} {_shown(value)} does not fit into {dtype}")
    return cast


@singledispatch
def conform(space: spaces.Space, value: Any, where: str) -> Any:
    """Return `value` as an element of `space`.

    Raises:
        NotInSpaceError: wrong shape or type, NaN, out of bounds; names `where` and the path in it.

    >>> conform(spaces.Box(-1, 1, (2,)), [0, 1], "action")
    array([0., 1.], dtype=float32)
    """
    if space.contains(value):
        return value
    raise NotInSpaceError(f"{where} {_shown(value)} is outside {space}")


@conform.register
def _(space: spaces.Dict, value: Any, where: str) -> dict:
    if not isinstance(value, dict) or set(value) != set(space.spaces):
        raise NotInSpaceError(
            f"{where} must have the keys {sorted(space.spaces)}, got {_shown(value)}"
        )
    return {key: conform(child, value[key], f"{where}/{key}") for key, child in space.items()}


@conform.register
def _(space: spaces.Tuple, value: Any, where: str) -> tuple:
    if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
        raise NotInSpaceError(f"{where} must have {len(space.spaces)} entries, got {_shown(value)}")
    children = enumerate(zip(space.spaces, value, strict=True))
    return tuple(conform(child, entry, f"{where}/{i}") for i, (child, entry) in children)


@conform.register
def _(space: spaces.Text, value: Any, where: str) -> str:
    # Length and characters are not checked: both are often declared carelessly.
    if not isinstance(value, str):
        raise NotInSpaceError(f"{where} {_shown(value)} is not a string")
    return str(value)


@conform.register
def _(space: spaces.Discrete, value: Any, where: str) -> Any:
    array = as_array(value, dtype=space.dtype, shape=space.shape, where=where)
    if not space.start <= array < space.start + space.n:
        raise NotInSpaceError(f"{where} {_shown(value)} is outside {space}")
    return array[()]


@conform.register(spaces.MultiDiscrete)
@conform.register(spaces.MultiBinary)
def _(space: spaces.Space, value: Any, where: str) -> np.ndarray:
    array = as_array(value, dtype=space.dtype, shape=space.shape, where=where)
    if not space.contains(array):
        raise NotInSpaceError(f"{where} {_shown(value)} is outside {space}")
    return array


@conform.register
def _(space: spaces.Box, value: Any, where: str) -> np.ndarray:
    array = as_array(value, dtype=space.dtype, shape=space.shape, where=where)
    if np.issubdtype(array.dtype, np.floating):
        if np.isnan(array).any():
            raise NotInSpaceError(f"{where} holds NaN: {_shown(value)}")
        low, high = finite_bounds(space)
        low, high = low - ROUNDING * (1 + np.abs(low)), high + ROUNDING * (1 + np.abs(high))
    else:
        low, high = space.low, space.high
    if (array < low).any() or (array > high).any():
        raise NotInSpaceError(f"{where} {_shown(value)} is outside {space}")
    return array


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."
