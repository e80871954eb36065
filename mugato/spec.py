"""Any Gymnasium space as an ordered list of leaves (Reed et al. 2022, §2.1, App. B).

A *leaf* is one array of an observation or an action: text, image, discrete or continuous. A spec
keeps the nesting of the spaces, so that values can be taken apart and put together again without
the environment, and it travels inside the checkpoint as JSON. It knows nothing of token ids.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

Kind = Literal["text", "image", "discrete", "continuous"]
Role = Literal["observation", "action"]
Tree = Any  # Leaf | dict[str, Tree] | tuple[Tree, ...]

# Smaller integer boxes (MiniGrid's 7x7x3 codes) are grids of symbols, not pictures.
MIN_IMAGE_PX = 16
MAX_DISCRETE = 1024
SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict, Tuple"


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One array of an observation or action.

    Attributes:
        kind: what the array holds.
        shape: its shape as the environment gives it; () for text.
        dtype: NumPy name of the element type.
        low, high: bounds per element in row-major order. Continuous: may be infinite. Discrete:
            the inclusive range. Empty for text and images.
        channels_first: an image stored as (channels, height, width).
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    channels_first: bool = False

    @property
    def size(self) -> int:
        """Number of elements of one value."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bounded(self) -> bool:
        """Whether every element of a continuous leaf has finite bounds."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())


TEXT_LEAF = Leaf(kind="text", dtype="str")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a task shows and what it takes; either may be empty (plain text has no observation)."""

    observation: Tree
    action: Tree

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

    def to_json(self) -> dict:
        return {
            "observation": _tree_to_json(self.observation),
            "action": _tree_to_json(self.action),
        }

    @staticmethod
    def from_json(data: Mapping) -> "Spec":
        return Spec(
            observation=_tree_from_json(data["observation"]),
            action=_tree_from_json(data["action"]),
        )


def spec_of(observation_space: spaces.Space, action_space: spaces.Space) -> Spec:
    """Describe a pair of Gymnasium spaces.

    Raises:
        ValueError: for an unsupported space, naming its place and what is supported.

    >>> position, hold = spaces.Box(-1, 1, (2,)), spaces.MultiBinary(3)
    >>> spec = spec_of(spaces.Dict(position=position, mission=spaces.Text(9)), hold)
    >>> [(name, leaf.kind) for name, leaf in spec.observation_leaves.items()]
    [('mission', 'text'), ('position', 'continuous')]
    >>> spec.action_leaves["action"].high
    (1.0, 1.0, 1.0)
    """
    return Spec(
        observation=_tree_of(observation_space, "observation"),
        action=_tree_of(action_space, "action"),
    )


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

    def map_child(key: Any, child: spaces.Space) -> Any:
        return map_space(function, child, *(v[key] for v in values), path=f"{path}/{key}")

    match space:
        case spaces.Dict():
            return {key: map_child(key, child) for key, child in space.items()}
        case spaces.Tuple():
            return tuple(map_child(i, child) for i, child in enumerate(space.spaces))
    return function(space, *values, path=path)


def flatten(tree: Tree, value: Any, root: str) -> dict[str, Any]:
    """Take one value apart: its leaves by path. The root leaf of a plain space is named `root`."""
    return {path: _at(value, keys) for path, keys, _ in _walk(tree, root)}


def unflatten(tree: Tree, leaves: Mapping[str, Any], root: str) -> Any:
    """Put leaves together again: the inverse of `flatten`.

    >>> tree = {"b": (Leaf(kind="text"), Leaf(kind="text")), "a": Leaf(kind="text")}
    >>> unflatten(tree, flatten(tree, {"a": 1, "b": (2, 3)}, "x"), "x")
    {'a': 1, 'b': (2, 3)}
    """

    def build(node: Tree, keys: tuple) -> Any:
        if isinstance(node, dict):
            return {key: build(node[key], (*keys, key)) for key in sorted(node)}
        if isinstance(node, tuple):
            return tuple(build(child, (*keys, i)) for i, child in enumerate(node))
        return leaves[_path(keys, root)]

    return build(tree, ())


@singledispatch
def _tree_of(space: spaces.Space, path: str) -> Tree:
    # MiniGrid's MissionSpace and the like: a space of strings by its dtype.
    if space.dtype is not None and np.dtype(space.dtype).kind == "U":
        return TEXT_LEAF
    raise ValueError(
        f"{path}: unsupported space {type(space).__name__}; supported are {SUPPORTED}. "
        "Wrap the environment so that it uses one of these."
    )


@_tree_of.register
def _(space: spaces.Dict, path: str) -> Tree:
    for key in space.spaces:
        if "/" in key:
            raise ValueError(f"{path}: the key {key!r} contains '/', which separates nested keys")
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
    if space.dtype == np.uint8 and _is_image(space.shape):
        first = len(space.shape) == 3 and space.shape[-1] not in (1, 3)
        return Leaf(kind="image", shape=space.shape, dtype="uint8", channels_first=first)
    if space.dtype == np.uint8 and len(space.shape) == 3 and sorted(space.shape)[1] >= MIN_IMAGE_PX:
        raise ValueError(
            f"{path}: pictures have 1 or 3 channels, this space has shape {space.shape}; choose "
            "channels with a wrapper, or give stacked frames as a Dict or Tuple of pictures"
        )
    integral = np.issubdtype(space.dtype, np.integer) or space.dtype == np.bool_
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if integral and (high - low < MAX_DISCRETE).all():
        return _discrete(space.shape, space.dtype, low, high, path)
    return Leaf(
        kind="continuous",
        shape=space.shape,
        dtype=str(space.dtype),
        low=tuple(low.reshape(-1).tolist()),
        high=tuple(high.reshape(-1).tolist()),
    )


def _is_image(shape: tuple[int, ...]) -> bool:
    match shape:
        case (height, width) | (height, width, 1 | 3) | (1 | 3, height, width):
            return min(height, width) >= MIN_IMAGE_PX
    return False


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
        low=tuple(low.reshape(-1).astype(float).tolist()),
        high=tuple(high.reshape(-1).astype(float).tolist()),
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


def _tree_to_json(node: Tree) -> Any:
    match node:
        case Leaf():
            bounds = {"low": [str(x) for x in node.low], "high": [str(x) for x in node.high]}
            return {"leaf": {**vars(node), **bounds, "shape": list(node.shape)}}
        case dict():
            return {"dict": {key: _tree_to_json(child) for key, child in node.items()}}
        case tuple():
            return {"tuple": [_tree_to_json(child) for child in node]}
    raise ValueError(f"not a spec: {node!r}")


def _tree_from_json(data: Mapping) -> Tree:
    match data:
        case {"leaf": fields}:
            fields = dict(fields)
            for name in ("low", "high"):
                fields[name] = tuple(float(x) for x in fields[name])
            return Leaf(**{**fields, "shape": tuple(fields["shape"])})
        case {"dict": children}:
            return {key: _tree_from_json(child) for key, child in children.items()}
        case {"tuple": children}:
            return tuple(_tree_from_json(child) for child in children)
    raise ValueError(f"not a spec in JSON: {data!r}")
