"""What episodes may stay in memory: one allowance for all sources of a process together.

A source that fits beside those opened before it keeps what it has read; one that does not keeps
nothing and reads each window anew. So memory ends growing with the data, however many sources.

Arrays by key, up to a number of bytes: those not asked for the longest are forgotten.
"""

import weakref
from collections import OrderedDict
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


class ByteCache:
    """Remembers what was made; the newest array stays, however large it is.

    >>> cache = ByteCache(max_bytes=16)
    >>> [cache.get(n, lambda n=n: np.full(1, n)).item() for n in (1, 2, 3)]
    [1, 2, 3]
    >>> cache.num_bytes
    16
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.num_bytes, self._max_bytes = 0, max_bytes
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this key; `make` is called if it is not there."""
        if key not in self._arrays:
            self._arrays[key] = array = make()
            self.num_bytes += array.nbytes
            while self.num_bytes > self._max_bytes and len(self._arrays) > 1:
                self.num_bytes -= self._arrays.popitem(last=False)[1].nbytes
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def __reduce__(self) -> tuple:
        """Other processes begin with nothing."""
        return _empty, (self._max_bytes,)


def _empty(max_bytes: int) -> ByteCache:
    return ByteCache(max_bytes=max_bytes)
