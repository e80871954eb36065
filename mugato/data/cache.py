"""What of a data set may stay in memory: whole episodes under a budget, arrays up to a size.

The sources of a run share one `MemoryBudget`. A source that fits beside those opened before it
keeps what it has read; one that does not keeps nothing and reads each window anew. So memory ends
growing with the data, however many sources.
"""

import weakref
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np

from mugato.data.source import Source
from mugato.episode import Episode, validate
from mugato.spec import Leaf, Spec

# Bytes of episodes in each process: the training process, or each of its workers.
DEFAULT_BYTES = 2**30


class MemoryBudget:
    """Bytes that the sources of a run may keep together; each process has as many."""

    def __init__(self, num_bytes: int = DEFAULT_BYTES) -> None:
        self.num_bytes, self.reserved = num_bytes, 0

    def reserve(self, owner: object, num_bytes: int) -> bool:
        """Take a share if there is room for it; it is given back when its owner is gone."""
        if self.reserved + num_bytes > self.num_bytes:
            return False
        self.reserved += num_bytes
        weakref.finalize(owner, self._free, num_bytes)
        return True

    def __reduce__(self) -> tuple:
        """Begin with all of it in another process, the sources sent along sharing one."""
        return MemoryBudget, (self.num_bytes,)

    def _free(self, num_bytes: int) -> None:
        self.reserved -= num_bytes


class EpisodeCache:
    """Remembers all that was read, or where there is no room for it, only what was read last.

    >>> EpisodeCache(MemoryBudget(), num_bytes=8).get(0, lambda: "read")
    'read'

    Attributes:
        everything: whether there is room.
    """

    def __init__(self, budget: MemoryBudget, *, num_bytes: int) -> None:
        self.budget, self.num_bytes = budget, num_bytes
        self.everything = budget.reserve(self, num_bytes)
        self._read: dict[Hashable, Any] = {}

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """Return what belongs to this key; `read` is called if it is not there."""
        if key not in self._read:
            value = read()
            if not self.everything:
                self._read.clear()
            self._read[key] = value
        return self._read[key]

    def __reduce__(self) -> tuple:
        """Begin with nothing in another process, if there is room in its budget."""
        return partial(EpisodeCache, num_bytes=self.num_bytes), (self.budget,)


class CachedSource(Source):
    """Episodes on disk; they stay in memory if the budget has room for all of them.

    A subclass reads timesteps. Other processes are sent no episodes: they read what they need.

    Attributes:
        lengths: timesteps of each episode.
    """

    lengths: tuple[int, ...]

    def __init__(
        self,
        *,
        name: str,
        spec: Spec,
        lengths: tuple[int, ...],
        budget: MemoryBudget,
        has_executed: bool = False,
    ) -> None:
        self.name, self.spec, self.lengths = name, spec, lengths
        num_bytes = _timestep_bytes(spec, has_executed=has_executed) * sum(lengths)
        self._cache = EpisodeCache(budget, num_bytes=num_bytes)

    @abstractmethod
    def read(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Episode:
        """Return the episode at `index`, validated against the spec when it was read.

        Raises:
            IndexError: for an index out of range.
            ValueError: if the episode is damaged or does not fit the spec.
        """
        self.check_index(index)
        return self._cache.get(index, lambda: self._validated(index, 0, self.lengths[index]))

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode.

        Where not all episodes fit into memory nothing else is read, and nothing kept.

        Raises:
            IndexError, ValueError: as `[index]`; timesteps that the episode does not have.
        """
        self.check_index(index)
        if not 0 <= start < stop <= self.lengths[index]:
            raise ValueError(
                f"{self.name} episode {index} has {self.lengths[index]} timesteps, "
                f"not those from {start} up to {stop}"
            )
        if self._cache.everything:
            return self[index].window(start, stop)
        return self._validated(index, start, stop)

    def _validated(self, index: int, start: int, stop: int) -> Episode:
        return validate(self.read(index, start, stop), self.spec)


def _timestep_bytes(spec: Spec, *, has_executed: bool) -> int:
    """Count the bytes of a timestep's leaves in memory; of a text only where it is kept."""
    leaves = [leaf for _, _, leaf in spec.leaves()]
    leaves += spec.action_leaves.values() if has_executed else ()
    return sum(leaf.size * _itemsize(leaf) for leaf in leaves)


def _itemsize(leaf: Leaf) -> int:
    return np.dtype(object if leaf.kind == "text" else leaf.dtype).itemsize


class ByteCache:
    """Arrays by key, up to a number of bytes: those not asked for the longest are forgotten.

    The newest array stays, however large it is.

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
        """Return the array of this key; `make` is called if it is not there."""
        if key not in self._arrays:
            self._arrays[key] = array = make()
            self.num_bytes += array.nbytes
            while self.num_bytes > self._max_bytes and len(self._arrays) > 1:
                self.num_bytes -= self._arrays.popitem(last=False)[1].nbytes
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def __reduce__(self) -> tuple:
        """Begin with nothing in another process."""
        return partial(ByteCache, max_bytes=self._max_bytes), ()
