"""Attention of a few new tokens over a ring of keys and values.

In a ring the key of position t lies at place t mod M. The distance of a query at t to the key at
place p is therefore t - p mod M, whatever the ring's turn: a table of the distances' projections,
laid out by -distance mod M, holds the scores' columns in the order of the places, one column
further for each query before the last. So relative attention picks nothing by index: it multiplies
by a slice of the table and reads the product with rows one shorter than they are.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mugato.model.attention_mask import NOTHING, Sight
from mugato.model.positions import pick


@dataclass(frozen=True, kw_only=True)
class Distances:
    """One layer's table.

    Attributes:
        columns: (H, head, W): projections over √head, of distance -c mod M in column c; 0 where
            that is out of reach.
        max_length: M.
        reach: how many tokens back a query sees, itself included.
    """

    columns: Float[Tensor, "H head W"]
    max_length: int
    reach: int

    @staticmethod
    def of(
        projected: Float[Tensor, "H D head"], *, max_length: int, dtype: torch.dtype
    ) -> "Distances":
        """From the projections of the distances D - 1 to 0, as far as a query reaches."""
        reach = min(projected.shape[1], max_length)
        projected = projected[:, -reach:]
        places = torch.arange(3 * max_length - reach + 1, device=projected.device)
        distance = -places % max_length
        columns = projected[:, (reach - 1 - distance).clamp(min=0)]
        columns = columns.masked_fill((distance >= reach)[:, None], 0.0)
        columns = rearrange(columns / math.sqrt(projected.shape[2]), "h w d -> h d w")
        return Distances(columns=columns.to(dtype).contiguous(), max_length=max_length, reach=reach)

    def picked(self, p: Float[Tensor, "B H Q head"], sight: Sight) -> Float[Tensor, "B H Q K"]:
        """Each score by its distance, whatever the positions."""
        start = self.max_length - self.reach + 1
        by_distance = p @ self.columns[:, :, start : self.max_length + 1]
        return pick(by_distance, sight.distances) + sight.penalty

    def sliced(
        self, p: Float[Tensor, "B H Q head"], ends: tuple[int, ...], length: int
    ) -> Float[Tensor, "B H Q K"]:
        """The same for queries that stand side by side, up to position `end` of each row.

        Args:
            length: places of the ring: `max_length`, or fewer while no row is longer.
        """
        b, h, queries, _ = p.shape
        width = length + queries - 1
        if len(set(ends)) == 1:
            rows = rearrange(p, "b h q d -> h (b q) d")
            scores = self._product(rows, ends[0], width)
            strides = (queries * width, b * queries * width)
        else:
            scores = p.new_empty((b, h, queries, width))
            for row, end in enumerate(ends):
                scores[row] = self._product(p[row], end, width)
            strides = (h * queries * width, queries * width)
        return scores.as_strided((b, h, queries, length), (*strides, width - 1, 1), queries - 1)

    def fits(self, queries: int) -> bool:
        """Whether the table is wide enough for so many tokens at once."""
        return queries <= self.max_length - self.reach + 1

    def _product(
        self, p: Float[Tensor, "H rows head"], end: int, width: int
    ) -> Float[Tensor, "H rows W"]:
        """Scores by column, from that of place 0 for the last query; hidden where out of reach."""
        size = self.max_length
        start = size - end if end < size else -end % size
        scores = p @ self.columns[:, :, start : start + width]
        if end < size:  # places behind a query have not been written yet
            hidden = [(end + 1, width), (0, end - self.reach + 1)]
        else:
            turns = range(0, start + width, size)
            hidden = [(c + 1 - start, c + size - self.reach + 1 - start) for c in turns]
        for low, high in hidden:
            scores[:, :, max(low, 0) : max(high, 0)] = NOTHING
        return scores


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One layer's part of a ring, and where the tokens being read go in it.

    Attributes:
        keys, values: one place more than the ring, the last takes the padding.
        distances: where attention goes by them.
        ends: position of the last token of each row, where rows are read side by side without
            gaps and it is quicker to know.
    """

    keys: Float[Tensor, "B H M head"]
    values: Float[Tensor, "B H M head"]
    places: Int[Tensor, "B L"]
    distances: Distances | None = None
    ends: tuple[int, ...] | None = None

    def attend(
        self,
        q: Float[Tensor, "B H L head"],
        k: Float[Tensor, "B H L head"],
        v: Float[Tensor, "B H L head"],
        sight: Sight,
        *,
        by_distance: Float[Tensor, "B H L head"] | None = None,
    ) -> Float[Tensor, "B H L head"]:
        """Write the new keys and values to the ring, and read all that each query sees.

        The fused kernel is the quickest for a few queries on every device; its mask may hold
        scores. `by_distance` are the queries of the distances.
        """
        keys, values = self._write(k, v)
        mask = sight.penalty
        if by_distance is not None:
            assert self.distances is not None
            if self.ends is not None and self.distances.fits(q.shape[2]):
                mask = self.distances.sliced(by_distance, self.ends, keys.shape[2])
            else:
                mask = self.distances.picked(by_distance, sight)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    def _write(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(k), device=k.device)[:, None]
        for ring, new in ((self.keys, k), (self.values, v)):
            ring.transpose(1, 2)[rows, self.places] = new.transpose(1, 2).to(ring.dtype)
        # Without the padding's place, which lies behind the others.
        length = self.keys.shape[2] - 1
        return self.keys[:, :, :length].to(k.dtype), self.values[:, :, :length].to(v.dtype)
