"""One leaf of several rows as one array, and back: what a batched policy sees and answers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from mugato.episode import check_leaf
from mugato.spec import Leaf


def stack_rows(where: str, leaf: Leaf, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Values of one leaf, (rows, *shape), checked; of several rows the wrong one is named.

    Raises:
        ValueError: as `check_leaf`.

    >>> stack_rows("speed", Leaf(kind="continuous", shape=(2,)), [[0, 1], [2, 3]]).shape
    (2, 2)
    """
    try:
        stacked = stack_values(leaf, values)
        check_leaf(where, stacked, leaf, len(values), is_action=False)
        return stacked
    except ValueError:
        if len(values) > 1:
            for row, value in enumerate(values):
                alone = stack_values(leaf, [value])
                check_leaf(f"{where} of row {row}", alone, leaf, 1, is_action=False)
        raise


def stack_values(leaf: Leaf, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Values of one leaf under a new first axis, of rows or of timesteps; texts as an array of str.

    >>> stack_values(Leaf(kind="text"), ["to be", "not"])
    array(['to be', 'not'], dtype=object)
    """
    if leaf.kind == "text":
        stacked = np.empty(len(values), dtype=object)
        stacked[:] = [str(v) if isinstance(v, np.str_) else v for v in values]
        return stacked
    return values if isinstance(values, np.ndarray) else np.stack([np.asarray(v) for v in values])


@lru_cache(maxsize=64)
def leaf_of_rows(leaf: Leaf, rows: int) -> Leaf:
    """A leaf that holds one value for each row.

    >>> leaf_of_rows(Leaf(kind="discrete", shape=(2,), low=(0.0, 0.0), high=(1.0, 4.0)), 3).shape
    (3, 2)
    """
    return replace(leaf, shape=(rows, *leaf.shape), low=leaf.low * rows, high=leaf.high * rows)


def value_of_row(leaf: Leaf, column: Sequence[Any] | np.ndarray, row: int) -> Any:
    """One row's value. Gymnasium's Discrete takes a NumPy scalar, its Box of no axes an array."""
    if leaf.kind == "text" or (leaf.kind == "discrete" and leaf.shape == ()):
        return column[row]
    return np.asarray(column[row])
