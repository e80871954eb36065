"""Keys and values of running sequences, in a ring: the memory of attention.

In a ring the key of position t lies at place t mod M. The distance of a query at t to the key at
place p is therefore t - p mod M, however often the ring went round: a table of the distances'
projections, laid out by -distance mod M, holds the scores' columns in the order of the places, one
column further for each query before the last. So relative attention picks nothing by index: it
multiplies by a slice of the table and reads the product with rows one shorter than they are.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mugato.model.attention_mask import MASK_VALUE, AttentionMask, pick

# Tokens of each row that a state has room for at first: attention over a long and nearly empty
# state would cost as much as over a full one.
FIRST_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class RelativePositionTable:
    """Projections of one layer's distances, laid out as a ring of keys lies (Dai et al. 2019).

    Attributes:
        columns: (H, head, W): projections over √head, of distance -c mod M in column c; 0 where
            that is `max_distance` or more.
        max_length: M.
        max_distance: how many tokens back a query sees, itself included.
    """

    columns: Float[Tensor, "H head W"]
    max_length: int
    max_distance: int

    @staticmethod
    def of(
        projected: Float[Tensor, "H D head"], *, max_length: int, dtype: torch.dtype
    ) -> "RelativePositionTable":
        """Make the table from the projections of the distances D - 1 to 0."""
        max_distance = min(projected.shape[1], max_length)
        projected = projected[:, -max_distance:]
        places = torch.arange(3 * max_length - max_distance + 1, device=projected.device)
        distance = -places % max_length
        columns = projected[:, (max_distance - 1 - distance).clamp(min=0)]
        columns = columns.masked_fill((distance >= max_distance)[:, None], 0.0)
        columns = rearrange(columns / math.sqrt(projected.shape[2]), "h w d -> h d w")
        return RelativePositionTable(
            columns=columns.to(dtype).contiguous(), max_length=max_length, max_distance=max_distance
        )

    def picked(
        self, p: Float[Tensor, "B H Q head"], mask: AttentionMask
    ) -> Float[Tensor, "B H Q K"]:
        """Score each pair by its distance, whatever the positions."""
        start = self.max_length - self.max_distance + 1
        by_distance = p @ self.columns[:, :, start : self.max_length + 1]
        return pick(by_distance, mask.distances) + mask.bias

    def sliced(
        self, p: Float[Tensor, "B H Q head"], ends: tuple[int, ...], length: int
    ) -> Float[Tensor, "B H Q K"]:
        """Score as `picked` does, for queries that stand side by side and end at `ends`.

        Args:
            ends: position of the last query of each row.
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
        """Tell whether the table is wide enough for so many tokens at once."""
        return queries <= self.max_length - self.max_distance + 1

    def _product(
        self, p: Float[Tensor, "H rows head"], end: int, width: int
    ) -> Float[Tensor, "H rows W"]:
        """Score by column, from that of place 0 for the last query; hide what none may see."""
        size = self.max_length
        start = size - end if end < size else -end % size
        scores = p @ self.columns[:, :, start : start + width]
        if end < size:  # places behind a query have not been written yet
            hidden = [(end + 1, width), (0, end - self.max_distance + 1)]
        else:
            turns = range(0, start + width, size)
            hidden = [(c + 1 - start, c + size - self.max_distance + 1 - start) for c in turns]
        for low, high in hidden:
            scores[:, :, max(low, 0) : max(high, 0)] = MASK_VALUE
        return scores


@dataclass(frozen=True, kw_only=True)
class LayerKVCache:
    """One layer's part of a ring, and where the tokens being read go in it.

    Attributes:
        keys, values: one place more than the ring, the last takes the padding.
        places: of the tokens being read.
        position_table: where attention goes by distances.
        ends: position of the last token of each row, where rows are read side by side without
            gaps and it is quicker to know.
    """

    keys: Float[Tensor, "B H M head"]
    values: Float[Tensor, "B H M head"]
    places: Int[Tensor, "B L"]
    position_table: RelativePositionTable | None = None
    ends: tuple[int, ...] | None = None

    def attend(
        self,
        q: Float[Tensor, "B H L head"],
        k: Float[Tensor, "B H L head"],
        v: Float[Tensor, "B H L head"],
        mask: AttentionMask,
        *,
        by_distance: Float[Tensor, "B H L head"] | None = None,
    ) -> Float[Tensor, "B H L head"]:
        """Write the new keys and values to the ring, and read all that each query sees.

        The fused kernel is the quickest for a few queries on every device; its mask may hold
        scores. `by_distance` are the queries of the distances.
        """
        keys, values = self._write(k, v)
        bias, table = mask.bias, self.position_table
        if by_distance is not None:
            assert table is not None
            if self.ends is not None and table.fits(q.shape[2]):
                bias = table.sliced(by_distance, self.ends, keys.shape[2])
            else:
                bias = table.picked(by_distance, mask)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias)

    def _write(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(k), device=k.device)[:, None]
        for ring, new in ((self.keys, k), (self.values, v)):
            ring.transpose(1, 2)[rows, self.places] = new.transpose(1, 2).to(ring.dtype)
        # Without the padding's place, which lies behind the others.
        return self.keys[:, :, :-1].to(k.dtype), self.values[:, :, :-1].to(v.dtype)


@dataclass(frozen=True, kw_only=True)
class KVCache:
    """Keys and values of the last `max_length` tokens of each row.

    The ring grows with the rows until it holds `max_length` tokens; then it goes round.

    Attributes:
        entries: of each layer, its keys and its values; one place more than the ring, the last
            takes the padding.
        positions: of the token in each place; -1 where there is none.
        position_tables: of each layer, where attention goes by distances.
    """

    entries: tuple[Float[Tensor, "2 B H M head"], ...]
    positions: Int[Tensor, "B M"]
    max_length: int
    position_tables: tuple[RelativePositionTable, ...] = ()

    @staticmethod
    def empty(
        shape: tuple[int, int, int, int],
        *,
        max_length: int,
        like: Tensor,
        position_tables: tuple[RelativePositionTable, ...] = (),
    ) -> "KVCache":
        """Make one without tokens.

        Args:
            shape: layers, rows, heads, head size.
            like: a tensor of its dtype and on its device.
        """
        num_layers, num_rows, num_heads, head_size = shape
        room = min(FIRST_LENGTH, max_length) + 1
        layer = (2, num_rows, num_heads, room, head_size)
        return KVCache(
            entries=tuple(like.new_zeros(layer) for _ in range(num_layers)),
            positions=torch.full((num_rows, room), -1, device=like.device),
            max_length=max_length,
            position_tables=position_tables,
        )

    def select(self, rows: Int[Tensor, " rows"]) -> "KVCache":
        """Copy some rows."""
        entries = tuple(e[:, rows] for e in self.entries)
        return dataclasses.replace(self, entries=entries, positions=self.positions[rows])

    def reset(self, rows: Bool[Tensor, " B"]) -> "KVCache":
        """Empty the marked rows: whatever still lies in their places is not seen."""
        return dataclasses.replace(self, positions=self.positions.masked_fill(rows[:, None], -1))

    def copy_rows_from(self, other: "KVCache", rows: Bool[Tensor, " B"]) -> "KVCache":
        """Make every marked row a copy of the only row of `other`."""
        if not bool(rows.any()):
            return self
        room = max(len(s.positions[0]) - 1 for s in (self, other))
        ours, theirs = self._with_room(room), other._with_room(room)
        for held, copied in zip(ours.entries, theirs.entries, strict=True):
            held[:, rows] = copied
        positions = torch.where(rows[:, None], theirs.positions, ours.positions)
        return dataclasses.replace(ours, positions=positions)

    def advance(
        self, positions: Int[Tensor, "B L"], segments: Int[Tensor, "B L"]
    ) -> tuple["KVCache", list["LayerKVCache"]]:
        """Give the new tokens their places.

        Returns:
            The state that knows them, and each layer's part of it to write them to.

        Raises:
            ValueError: for more tokens at once than the ring holds: places would be written twice.
        """
        if positions.shape[1] > self.max_length:
            raise ValueError(
                f"{positions.shape[1]} tokens at once, the state holds {self.max_length}"
            )
        state = self._with_room(int(positions.max()) + 1)
        length = state.positions.shape[1] - 1
        places = torch.where(segments > 0, positions % length, length)
        held = state.positions.scatter(1, places, positions)
        held[:, length] = -1
        ends = _ends(positions) if state.position_tables else None
        tables = state.position_tables or [None] * len(state.entries)
        caches = [
            LayerKVCache(keys=e[0], values=e[1], places=places, position_table=table, ends=ends)
            for e, table in zip(state.entries, tables, strict=True)
        ]
        return dataclasses.replace(state, positions=held), caches

    def _with_room(self, num_tokens: int) -> "KVCache":
        """Return the same tokens with room for so many, or for `max_length`, in each row."""
        length = self.positions.shape[1] - 1
        wanted = length
        while wanted < min(num_tokens, self.max_length):
            wanted = min(2 * wanted, self.max_length)
        if wanted == length:
            return self
        # What the padding left in the last place is of no use any more.
        entries = tuple(F.pad(e, (0, 0, 0, wanted - length)) for e in self.entries)
        positions = F.pad(self.positions, (0, wanted - length), value=-1)
        return dataclasses.replace(self, entries=entries, positions=positions)


def _ends(positions: Int[Tensor, "B L"]) -> tuple[int, ...] | None:
    """Return each row's last position where positions can be counted through; None if no gain."""
    if positions.device.type != "cpu" or bool((positions.diff(dim=1) != 1).any()):
        return None
    return tuple(positions[:, -1].tolist())
