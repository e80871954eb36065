"""Specs as JSON, in which they travel inside a checkpoint; what is something else is named.

It knows nothing of spaces, nor what a spec is used for.
"""

from collections.abc import Mapping
from typing import Any

from mugato.spec import Leaf, Spec, Tree
from mugato.system.typed_json import from_json, within

_PER_ELEMENT = ("low", "high", "center", "scale")


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Return a spec as JSON; numbers as texts, for bounds may be infinite.

    >>> spec_to_json(Spec(observation={}, action=(Leaf(kind="text"),)))["observation"]
    {'dict': {}}
    """
    return {
        "observation": _tree_to_json(spec.observation),
        "action": _tree_to_json(spec.action),
    }


def spec_from_json(data: Any, where: str = "spec") -> Spec:
    """Read what `spec_to_json` gave.

    Raises:
        ValueError: if it is something else; `where` begins the message.

    >>> spec = Spec(observation={}, action=(Leaf(kind="text"),))
    >>> spec_from_json(spec_to_json(spec)) == spec
    True
    """
    trees = from_json(dict[str, Any], data, where)
    if sorted(trees) != ["action", "observation"]:
        raise ValueError(f"{where} must have an observation and an action, got {sorted(trees)}")
    return Spec(**{role: _tree_from_json(t, within(where, role)) for role, t in trees.items()})


def _tree_to_json(node: Tree) -> Any:
    match node:
        case Leaf():
            numbers = {name: [str(x) for x in getattr(node, name)] for name in _PER_ELEMENT}
            return {"leaf": {**vars(node), **numbers, "shape": list(node.shape)}}
        case dict():
            return {"dict": {key: _tree_to_json(child) for key, child in node.items()}}
        case tuple():
            return {"tuple": [_tree_to_json(child) for child in node]}
    raise ValueError(f"not a spec: {node!r}")


def _tree_from_json(data: Any, where: str) -> Tree:
    match data:
        case {"leaf": dict() as fields}:
            return _leaf_from_json(fields, where)
        case {"dict": dict() as children}:
            return {k: _tree_from_json(child, within(where, k)) for k, child in children.items()}
        case {"tuple": list() as children}:
            found = enumerate(children)
            return tuple(_tree_from_json(child, within(where, str(i))) for i, child in found)
    raise ValueError(f"{where} is not a spec in JSON: {str(data)[:60]!r}")


def _leaf_from_json(fields: Mapping[str, Any], where: str) -> Leaf:
    numbers = {}
    for name in _PER_ELEMENT:
        texts = from_json(tuple[str, ...], fields.get(name), within(where, name))
        try:
            numbers[name] = [float(text) for text in texts]
        except ValueError as error:
            raise ValueError(f"{within(where, name)}: {error}") from None
    leaf = from_json(Leaf, {**fields, **numbers}, where)
    if leaf.kind in ("discrete", "continuous") and not len(leaf.low) == len(leaf.high) == leaf.size:
        raise ValueError(
            f"{where} must have bounds for {leaf.size} elements, got {len(leaf.low)} low and "
            f"{len(leaf.high)} high ones"
        )
    return leaf
