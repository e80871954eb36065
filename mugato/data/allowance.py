"""What episodes may stay in memory: one allowance for all sources of a process together.

A source that fits beside those opened before it keeps what it has read; one that does not keeps
nothing and reads each window anew. So memory ends growing with the data, however many sources.
"""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from mugato.spec import Leaf, Spec

# Bytes of episodes in each process: the training process, or each of its workers.
ALLOWANCE = 2**30

_reserved = 0


class Kept:
    """Remembers all that was read, or where there is no room for it, only what was read last.

    >>> Kept(num_bytes=8).get(0, lambda: "read")
    'read'

    Attributes:
        everything: whether there is room; it is given back when this object is gone.
    """

    def __init__(self, *, num_bytes: int) -> None:
        self.everything = _reserve(self, num_bytes)
        self._read: dict[Hashable, Any] = {}

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """What belongs to this key; `read` is called if it is not there."""
        if key not in self._read:
            value = read()
            if not self.everything:
                self._read.clear()
            self._read[key] = value
        return self._read[key]


def timestep_bytes(spec: Spec) -> int:
    """Of a timestep's leaves in memory; of a text only where it is kept."""
    leaves = [*spec.observation_leaves.values(), *spec.action_leaves.values()]
    return sum(leaf.size * _itemsize(leaf) for leaf in leaves)


def _itemsize(leaf: Leaf) -> int:
    return np.dtype(object if leaf.kind == "text" else leaf.dtype).itemsize


def _reserve(owner: object, num_bytes: int) -> bool:
    global _reserved
    if _reserved + num_bytes > ALLOWANCE:
        return False
    _reserved += num_bytes
    weakref.finalize(owner, _free, num_bytes)
    return True


def _free(num_bytes: int) -> None:
    global _reserved
    _reserved -= num_bytes
