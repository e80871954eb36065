"""Keys and values of running sequences, in a ring: the memory of attention."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mugato.model.ring_attention import Cache, Distances

# Tokens of each row that a state has room for at first: attention over a long and nearly empty
# state would cost as much as over a full one.
FIRST_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class KeyValueState:
    """Keys and values of the last `max_length` tokens of each row.

    The ring grows with the rows until it holds `max_length` tokens; then it goes round.

    Attributes:
        keys, values: of each layer, (B, H, M, head_size): one place more than the ring, the last
            takes the padding.
        positions: (B, M): position of the token in each place; -1 where there is none.
        distances: of each layer, where attention goes by them.
    """

    keys: tuple[Float[Tensor, "B H M head"], ...]
    values: tuple[Float[Tensor, "B H M head"], ...]
    positions: Int[Tensor, "B M"]
    max_length: int
    distances: tuple[Distances, ...] = ()

    @staticmethod
    def empty(
        *,
        num_layers: int,
        shape: tuple[int, int, int],
        max_length: int,
        like: Tensor,
        distances: tuple[Distances, ...] = (),
    ) -> "KeyValueState":
        """No tokens yet; `shape` is (B, H, head_size), dtype and device are those of `like`."""
        batch_size, num_heads, head_size = shape
        length = min(FIRST_LENGTH, max_length)
        room = (batch_size, num_heads, length + 1, head_size)

        def zeros() -> tuple[Tensor, ...]:
            return tuple(
                torch.zeros(room, device=like.device, dtype=like.dtype) for _ in range(num_layers)
            )

        return KeyValueState(
            keys=zeros(),
            values=zeros(),
            positions=torch.full((batch_size, length + 1), -1, device=like.device),
            max_length=max_length,
            distances=distances,
        )

    def select(self, rows: Int[Tensor, " rows"]) -> "KeyValueState":
        """A copy of some rows."""
        return dataclasses.replace(
            self,
            keys=tuple(k[rows] for k in self.keys),
            values=tuple(v[rows] for v in self.values),
            positions=self.positions[rows],
        )

    def reset(self, rows: Bool[Tensor, " B"]) -> "KeyValueState":
        """The marked rows empty: their places are free, whatever still lies there is not seen."""
        return dataclasses.replace(self, positions=self.positions.masked_fill(rows[:, None], -1))

    def put(self, rows: Bool[Tensor, " B"], other: "KeyValueState") -> "KeyValueState":
        """Every marked row becomes a copy of the only row of `other`."""
        if not bool(rows.any()):
            return self
        room = max(len(s.positions[0]) - 1 for s in (self, other))
        ours, theirs = self._with_room(room), other._with_room(room)
        for held, copied in zip(ours.keys + ours.values, theirs.keys + theirs.values, strict=True):
            held[rows] = copied
        marked = rows[:, None]
        return dataclasses.replace(
            ours, positions=torch.where(marked, theirs.positions, ours.positions)
        )

    def advance(
        self, positions: Int[Tensor, "B L"], segments: Int[Tensor, "B L"]
    ) -> tuple["KeyValueState", list["Cache"]]:
        """Give the new tokens their places; return the state that knows them, and each layer's
        part of it to write to.

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
        ends = _ends(positions) if state.distances else None
        caches = [
            Cache(keys=keys, values=values, places=places, distances=distances, ends=ends)
            for keys, values, distances in zip(
                state.keys,
                state.values,
                state.distances or [None] * len(state.keys),
                strict=True,
            )
        ]
        return dataclasses.replace(state, positions=held), caches

    def _with_room(self, num_tokens: int) -> "KeyValueState":
        """The same tokens, with room for so many or for `max_length` of each row."""
        length = self.positions.shape[1] - 1
        wanted = length
        while wanted < min(num_tokens, self.max_length):
            wanted = min(2 * wanted, self.max_length)
        if wanted == length:
            return self
        # What the padding left in the last place is of no use any more.
        padding = (0, 0, 0, wanted - length)
        return dataclasses.replace(
            self,
            keys=tuple(F.pad(k, padding) for k in self.keys),
            values=tuple(F.pad(v, padding) for v in self.values),
            positions=F.pad(self.positions, (0, wanted - length), value=-1),
        )


def _ends(positions: Int[Tensor, "B L"]) -> tuple[int, ...] | None:
    """Each row's last position where positions can be counted through; None where it is no gain."""
    if positions.device.type != "cpu" or bool((positions.diff(dim=1) != 1).any()):
        return None
    return tuple(positions[:, -1].tolist())
