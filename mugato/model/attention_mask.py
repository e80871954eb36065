"""What each token may look at, and how far away it is: worked out once for all layers.

It knows positions and segments, no vectors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Queries that are scored together: a block of scores stays in a core's cache.
BLOCK = 128
# A score that no softmax lets through; finite in bf16, so that rows of padding get no NaN.
MASK_VALUE = -30000.0


T = TypeVar("T")


class Once(Generic[T]):
    """`functools.cached_property` without its lock, which `torch.compile` cannot see through."""

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out, self.__doc__ = work_out, work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = self._work_out(instance)
        object.__setattr__(instance, self._name, value)
        return value


@dataclass(frozen=True, kw_only=True)
class QueryBlock:
    """Some queries and all the keys that any of them sees.

    Attributes:
        queries, keys: places in the rows; the keys end with the last query.
        bias: added to the scores of the last keys, as many as it has columns: those are not seen
            by all queries.
    """

    queries: slice
    keys: slice
    bias: Float[Tensor, "B Q K"]

    @property
    def width(self) -> int:
        """The number of keys."""
        return self.keys.stop - self.keys.start


@dataclass(frozen=True, kw_only=True)
class AttentionMask:
    """Which keys each query sees, and how far away they are; the same for every layer.

    Queries and keys are the same tokens in whole rows (`of_rows`), or new tokens and what a row's
    ring holds of its sequence.

    Attributes:
        positions: of the queries within their segments.
        key_positions: of the keys; -1 where there is none.
        max_distance: how many tokens back a query sees, itself included.
        dtype: of the scores.
        segments: of the rows, where queries and keys are the same tokens; None in a ring.
    """

    positions: Int[Tensor, "B Q"]
    key_positions: Int[Tensor, "B K"]
    max_distance: int
    dtype: torch.dtype
    segments: Int[Tensor, "B Q"] | None = None

    @staticmethod
    def of_rows(
        positions: Tensor, segments: Tensor, context_length: int, dtype: torch.dtype
    ) -> "AttentionMask":
        """Make the mask of whole rows: each token sees its own segment's past, itself included."""
        return AttentionMask(
            positions=positions,
            key_positions=positions,
            max_distance=context_length,
            dtype=dtype,
            segments=segments,
        )

    @Once
    def aligned(self) -> bool:
        """Tell whether distances between tokens that see each other are those of their places.

        So it is in packed rows, but not between paddings or in a ring.
        """
        if self.segments is None:
            return False
        (p, s), (next_p, next_s) = (
            (self.positions[:, cut], self.segments[:, cut]) for cut in (slice(-1), slice(1, None))
        )
        follows = torch.where(next_s == s, next_p == p + 1, next_p == 0)
        begins = self.positions[:, 0] == 0
        return bool((follows | (next_s == 0)).all() & begins.all())

    @Once
    def blocks(self) -> tuple[QueryBlock, ...]:
        """Cut aligned rows into blocks of queries; each sees an unbroken run of keys."""
        length = self.positions.shape[1]
        places = torch.arange(length, device=self.positions.device)
        assert self.aligned and self.segments is not None
        begins = (self.positions == 0) & (self.segments > 0)
        # Padding goes on with the segment before it: what it sees is nobody's affair.
        first = (places * begins).cummax(dim=1).values
        first = torch.maximum(first, places - (self.max_distance - 1))
        starts = range(0, length, BLOCK)
        bounds = torch.stack(
            [bound for at in starts for bound in first[:, at : at + BLOCK].aminmax()]
        )
        blocks = []
        for at, (low, high) in zip(starts, bounds.view(-1, 2).tolist(), strict=True):
            stop = min(at + BLOCK, length)
            begin = low - low % BLOCK  # few different shapes: see the architecture's page
            # Where all see all keys before the block, only its own keys have to be hidden.
            columns = places[(at if high <= begin else begin) : stop]
            queries = places[at:stop, None]
            hidden = columns > queries
            if high > begin:
                hidden = hidden | (columns < first[:, at:stop, None])
            bias = self._bias(hidden.view(-1, *hidden.shape[-2:]))
            blocks.append(QueryBlock(queries=slice(at, stop), keys=slice(begin, stop), bias=bias))
        return tuple(blocks)

    @Once
    def distances(self) -> Int[Tensor, "B 1 Q K"]:
        """Subtract each key's position from each query's."""
        return self.positions[:, None, :, None] - self.key_positions[:, None, None, :]

    @Once
    def visible(self) -> Bool[Tensor, "B 1 Q K"]:
        """Mark where a query may look: at itself and its past, less than `max_distance` back."""
        seen = (self.distances >= 0) & (self.distances < self.max_distance)
        seen &= (self.key_positions >= 0)[:, None, None, :]
        if self.segments is not None:
            seen &= self.segments[:, None, :, None] == self.segments[:, None, None, :]
        return seen

    @Once
    def bias(self) -> Float[Tensor, "B 1 Q K"]:
        """Turn the mask into numbers to add to scores: 0 where a query may look."""
        return self._bias(~self.visible)

    def _bias(self, hidden: Tensor) -> Tensor:
        bias = torch.zeros(hidden.shape, dtype=self.dtype, device=hidden.device)
        return bias.masked_fill_(hidden, MASK_VALUE)


def pick(
    by_distance: Float[Tensor, "B H Q D"], distances: Int[Tensor, "B 1 Q K"]
) -> Float[Tensor, "B H Q K"]:
    """Pick each pair's column, of distances D - 1 to 0; the caller masks those of D or more."""
    max_distance = by_distance.shape[-1]
    columns = (max_distance - 1 - distances).clamp(0, max_distance - 1)
    return by_distance.gather(-1, columns.expand(-1, by_distance.shape[1], -1, -1))
