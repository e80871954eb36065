"""Arrays by key, up to a number of bytes: those not asked for the longest are forgotten."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


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
