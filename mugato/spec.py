"""Any Gymnasium space as an ordered list of leaves (Reed et al. 2022, §2.1, App. B).

A *leaf* is one array of an observation or an action: text, image, discrete or continuous. A spec
keeps the nesting of the spaces, so that values can be taken apart and put together again without
the environment. It knows nothing of token ids, nor how a spec is kept (`spec_json.py`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from jaxtyping import Float
from numpy.typing import ArrayLike

Kind = Literal["text", "image", "discrete", "continuous"]
Role = Literal["observation", "action"]
Tree = Any  # Leaf | dict[str, Tree] | tuple[Tree, ...]

# Smaller integer boxes (MiniGrid's 7x7x3 codes) are grids of symbols, not pictures.
MIN_IMAGE_PX = 16
MAX_DISCRETE = 1024
# Observations are told apart up to here (§2.1); wider ones are scaled by their bounds.
MAX_UNSCALED = 256.0
SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict, Tuple"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One array of an observation or action.

    Attributes:
        kind: what the array holds.
        shape: its shape as the environment gives it; () for text.
        dtype: NumPy name of the element type.
        low, high: bounds per element in row-major order. Continuous: may be infinite. Discrete:
            the inclusive range. Images: one pair, empty for 0 to 255. Empty for text.
        channels_first: an image stored as (channels, height, width).
        center, scale: of a continuous leaf per element: `(value - center) / scale` is what becomes
            a token. Empty where values are taken as they are, as in the paper.

    Raises:
        ValueError: for bounds so far apart that their difference is no number.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    channels_first: bool = False
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for low, high in zip(self.low, self.high, strict=True):
            if math.isinf(high - low) and math.isfinite(low) and math.isfinite(high):
                raise ValueError(
                    f"bounds from {low:g} to {high:g} are further apart than numbers reach; bound "
                    "the space closer, or not at all"
                )

    @property
    def size(self) -> int:
        """Number of elements of one value."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bounded(self) -> bool:
        """Whether every element of a continuous leaf has finite bounds.

        An action of which only some have is binned by the µ-law as a whole (those beyond ±256
        scaled by their bounds): all of a leaf's bins stand for the same values, so that a mean of
        them is one. In leaves of their own the bounded ones have bins as fine everywhere.
        """
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def stacked(self, count: int) -> "Leaf":
        """Return the leaf that holds `count` values of this one, of numbers.

        >>> Leaf(kind="discrete", shape=(2,), low=(0.0, 0.0), high=(1.0, 4.0)).stacked(3).shape
        (3, 2)
        """
        return replace(
            self,
            shape=(count, *self.shape),
            low=self.low * count,
            high=self.high * count,
            center=self.center * count,
            scale=self.scale * count,
        )


TEXT_LEAF = Leaf(kind="text", dtype="str")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a task shows and what it takes; plain text shows nothing.

    Raises:
        ValueError: for a picture as an action, which no policy can choose.
    """

    observation: Tree
    action: Tree

    def __post_init__(self) -> None:
        for path, leaf in self.action_leaves.items():
            if leaf.kind == "image":
                raise ValueError(
                    f"action {path!r} is a picture of shape {leaf.shape}, which has no tokens to "
                    "choose from; actions are text, discrete or continuous"
                )

    @cached_property
    def observation_leaves(self) -> dict[str, Leaf]:
        """Leaves by path, in the paper's order: text, images, tensors; lexicographical within."""
        return _in_order(self.observation, root="observation")

    @cached_property
    def action_leaves(self) -> dict[str, Leaf]:
        """Leaves by path, in the same order."""
        return _in_order(self.action, root="action")

    def leaves(self) -> Iterator[tuple[Role, str, Leaf]]:
        """Yield (role, path, leaf) of all leaves, those of the observation first.

        >>> spec = spec_of(spaces.Text(9), spaces.Discrete(2))
        >>> [(role, leaf.kind) for role, _, leaf in spec.leaves()]
        [('observation', 'text'), ('action', 'discrete')]
        """
        for path, leaf in self.observation_leaves.items():
            yield "observation", path, leaf
        for path, leaf in self.action_leaves.items():
            yield "action", path, leaf


def spec_of(observation_space: spaces.Space, action_space: spaces.Space) -> Spec:
    """Describe a pair of Gymnasium spaces.

    Bounds at the end of a 32- or 64-bit type are none. Observations whose finite bounds reach
    beyond ±256 are scaled by them to [-1, 1].

    Raises:
        ValueError: for an unsupported or empty space, naming its place and what is supported.

    >>> position, hold = spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3)
    >>> spec = spec_of(spaces.Dict(position=position, mission=spaces.Text(9)), hold)
    >>> [(name, leaf.kind) for name, leaf in spec.observation_leaves.items()]
    [('mission', 'text'), ('position', 'continuous')]
    >>> spec.action_leaves["action"].high
    (1.0, 1.0, 1.0)
    """
    spec = Spec(
        observation=_tree_of(observation_space, "observation"),
        action=_tree_of(action_space, "action"),
    )
    for role, leaves in (("observation", spec.observation_leaves), ("action", spec.action_leaves)):
        if not leaves:
            raise ValueError(f"the {role} space holds nothing, so that no policy can act on it")
    return spec


def finite_bounds(
    space: spaces.Box,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return a box's bounds, infinite where they are but the end of a 32- or 64-bit type.

    >>> bounds = finite_bounds(spaces.Box(0, np.finfo(np.float32).max, (1,)))
    >>> [side.item() for side in bounds]
    [0.0, inf]
    """
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    kind: Any = np.dtype(space.dtype)
    if kind.kind == "f":
        end = min(float(np.finfo(kind).max), float(np.finfo(np.float32).max))
        low[low <= -end], high[high >= end] = -np.inf, np.inf
    elif kind.kind in "iu" and kind.itemsize >= 4:
        info, margin = np.iinfo(kind), 2  # Gymnasium writes an infinite bound as the end less 2
        high[space.high >= info.max - margin] = np.inf
        if kind.kind == "i":
            low[space.low <= info.min + margin] = -np.inf
    return low, high


def map_space(
    function: Callable[..., Any], space: spaces.Space, *values: Any, path: str = ""
) -> Any:
    """Put `function(leaf_space, *parts, path=path)` in the place of each leaf of a space.

    Args:
        values: values of the space; the function gets the leaf's part of each.
        path: name of the root.

    >>> space = spaces.Dict(a=spaces.Discrete(9), b=spaces.Tuple([spaces.Discrete(9)]))
    >>> one, two = {"a": 1, "b": (2,)}, {"a": 3, "b": (4,)}
    >>> map_space(lambda leaf, *parts, path: (path, *parts), space, one, two, path="x")
    {'a': ('x/a', 1, 3), 'b': (('x/b/0', 2, 4),)}
    """
    match space:
        case spaces.Dict():
            children = list(space.items())
        case spaces.Tuple():
            children = list(enumerate(space.spaces))
        case _:
            return function(space, *values, path=path)
    mapped = {
        key: map_space(function, child, *(v[key] for v in values), path=f"{path}/{key}")
        for key, child in children
    }
    return mapped if isinstance(space, spaces.Dict) else tuple(mapped.values())


def flatten(tree: Tree, value: Any, root: str) -> dict[str, Any]:
    """Take one value apart: its leaves by path. The root leaf of a plain space is named `root`."""
    return {path: _at(value, keys) for path, keys, _ in _walk(tree, root)}


def surplus_keys(tree: Tree, value: Any, root: str = "") -> list[str]:
    """Name what a value has and its tree has not, by path.

    >>> leaf = Leaf(kind="text")
    >>> surplus_keys({"a": leaf, "b": {"c": leaf}}, {"a": 1, "b": {"c": 2, "d": 3}, "e": 4})
    ['b/d', 'e']
    """
    if isinstance(tree, Leaf):
        return []
    children = tree if isinstance(tree, dict) else dict(enumerate(tree))
    found = []
    for key, child in children.items():
        found += surplus_keys(child, value[key], f"{root}{key}/")
    keys = value if isinstance(tree, dict) else range(len(value))
    return found + [f"{root}{key}" for key in keys if key not in children]


def unflatten(tree: Tree, leaves: Mapping[str, Any], root: str) -> Any:
    """Put leaves together again: the inverse of `flatten`.

    >>> tree = {"b": (Leaf(kind="text"), Leaf(kind="text")), "a": Leaf(kind="text")}
    >>> unflatten(tree, flatten(tree, {"a": 1, "b": (2, 3)}, "x"), "x")
    {'a': 1, 'b': (2, 3)}
    """
    return _build(tree, leaves, (), root)


def _build(node: Tree, leaves: Mapping[str, Any], keys: tuple, root: str) -> Any:
    if isinstance(node, dict):
        return {key: _build(node[key], leaves, (*keys, key), root) for key in sorted(node)}
    if isinstance(node, tuple):
        return tuple(_build(child, leaves, (*keys, i), root) for i, child in enumerate(node))
    return leaves[_path(keys, root)]


@singledispatch
def _tree_of(space: spaces.Space, path: str) -> Tree:
    # MiniGrid's MissionSpace and the like: a space of strings by its dtype.
    if space.dtype is not None and np.dtype(space.dtype).kind == "U":
        return TEXT_LEAF
    raise ValueError(
        f"{path}: unsupported space {type(space).__name__}; supported are {SUPPORTED}. "
        "Wrap the environment so that it uses one of these."
    )


@_tree_of.register(spaces.Dict)
def _(space: Any, path: str) -> Tree:
    for key in space.spaces:
        if not isinstance(key, str):
            raise ValueError(f"{path}: the key {key!r} is no string")
        if "/" in key or key in ("", "."):
            raise ValueError(
                f"{path}: the key {key!r} can be no part of a path; '/' separates nested keys"
            )
    return {key: _tree_of(space[key], f"{path}/{key}") for key in sorted(space.spaces)}


@_tree_of.register
def _(space: spaces.Tuple, path: str) -> Tree:
    return tuple(_tree_of(child, f"{path}/{i}") for i, child in enumerate(space.spaces))


@_tree_of.register
def _(space: spaces.Text, path: str) -> Tree:
    return TEXT_LEAF


@_tree_of.register
def _(space: spaces.Discrete, path: str) -> Tree:
    start, n = int(space.start), int(space.n)
    return _discrete((), space.dtype, np.array([start]), np.array([start + n - 1]), path)


@_tree_of.register
def _(space: spaces.MultiDiscrete, path: str) -> Tree:
    start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)))
    return _discrete(space.shape, space.dtype, start, start + space.nvec - 1, path)


@_tree_of.register
def _(space: spaces.MultiBinary, path: str) -> Tree:
    zeros = np.zeros(space.shape)
    return _discrete(space.shape, space.dtype, zeros, zeros + 1, path)


@_tree_of.register
def _(space: spaces.Box, path: str) -> Tree:
    if 0 in space.shape:
        raise ValueError(f"{path}: a box of shape {space.shape} holds nothing")
    if space.dtype == np.uint8 and (channels_first := _as_picture(space.shape, path)) is not None:
        bounds = float(space.low.min()), float(space.high.max())
        low, high = ((), ()) if bounds == (0.0, 255.0) else ((bounds[0],), (bounds[1],))
        return Leaf(
            kind="image",
            shape=space.shape,
            dtype="uint8",
            low=low,
            high=high,
            channels_first=channels_first,
        )
    integral = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
    low, high = finite_bounds(space)
    if integral and (high - low < MAX_DISCRETE).all():
        return _discrete(space.shape, space.dtype, low, high, path)
    center, scale = _scaling(low, high)
    return Leaf(
        kind="continuous",
        shape=space.shape,
        dtype=str(space.dtype),
        low=_row_major(low),
        high=_row_major(high),
        center=center,
        scale=scale,
    )


def _as_picture(shape: tuple[int, ...], path: str) -> bool | None:
    """Tell whether a picture's channels come first; None for what is no picture.

    One channel is grey, three are color, another number are so many grey pictures; a fourth axis
    in front are as many pictures.
    """
    large = [side >= MIN_IMAGE_PX for side in shape]
    match large, shape:
        case ([True, True] | [True, True, False], _) | ([_, True, True, _], (_, _, _, 1 | 3)):
            return False
        case ([False, True, True], _) | ([_, _, True, True], (_, 1 | 3, _, _)):
            return True
        case ([True, True, True], _):
            raise ValueError(
                f"{path}: a picture has fewer than {MIN_IMAGE_PX} channels, this space has shape "
                f"{shape}; choose channels with a wrapper"
            )
    return None


def _scaling(low: np.ndarray, high: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return center and scale for bounds beyond what is told apart; nothing where none is."""
    finite = np.isfinite(low) & np.isfinite(high)
    wide = finite & (np.maximum(np.abs(low), np.abs(high)) > MAX_UNSCALED)
    if not wide.any():
        return (), ()
    low, high = np.where(wide, low, -1.0), np.where(wide, high, 1.0)
    half = high / 2 - low / 2
    return _row_major(low / 2 + high / 2), _row_major(np.where(half > 0, half, 1.0))


def _row_major(values: ArrayLike) -> tuple[float, ...]:
    return tuple(np.asarray(values, np.float64).reshape(-1).tolist())


def _discrete(shape: tuple, dtype: Any, low: np.ndarray, high: np.ndarray, path: str) -> Leaf:
    if (high - low >= MAX_DISCRETE).any():
        raise ValueError(
            f"{path}: {int((high - low).max()) + 1} discrete values, but at most {MAX_DISCRETE} "
            "have token ids; split the value over several smaller ones with a wrapper"
        )
    return Leaf(
        kind="discrete",
        shape=tuple(shape),
        dtype=str(np.dtype(dtype)),
        low=_row_major(low),
        high=_row_major(high),
    )


def _in_order(tree: Tree, root: str) -> dict[str, Leaf]:
    rank = {"text": 0, "image": 1, "discrete": 2, "continuous": 2}
    leaves = sorted(_walk(tree, root), key=lambda entry: (rank[entry[2].kind], entry[1]))
    return {path: leaf for path, _, leaf in leaves}


def _walk(node: Tree, root: str, keys: tuple = ()) -> Iterator[tuple[str, tuple, Leaf]]:
    """Yield (path, keys, leaf), depth first, keys sorted."""
    if isinstance(node, dict):
        for key in sorted(node):
            yield from _walk(node[key], root, (*keys, key))
    elif isinstance(node, tuple):
        for i, child in enumerate(node):
            yield from _walk(child, root, (*keys, i))
    else:
        yield _path(keys, root), keys, node


def _path(keys: tuple, root: str) -> str:
    return "/".join(map(str, keys)) or root


def _at(value: Any, keys: tuple) -> Any:
    for key in keys:
        value = value[key]
    return value
