"""Sequences to model input, two ways with the same loss: `pack` and `pad`.

`pack` lays several sequences into each row, with segment numbers and no waste; the trainer does the
same one sequence at a time (`RowPacker`). `pad` is µGATO's form: every leaf of every timestep takes
the same number of places, so that the row is a flattened (episodes, tokens) grid. It shows what is
in a batch (the notebook) and checks `pack` (tests); neither training nor acting needs it.
"""

from collections.abc import Sequence, Sized
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mugato.tokens.images import NUM_LEVELS
from mugato.tokens.sequence import ACTION_POSITION, TokenSequence

# The table of distinct patches is filled up to a power of two or a multiple of this: kernels are
# compiled for each shape anew, and a new shape with every batch would cost more than the batch.
PATCH_MULTIPLE = 256
# After so many patches of a batch, a table of which more than this share is new gives up looking.
MIN_SEEN = 256
MAX_DISTINCT = 0.9

T = TypeVar("T", bound=Sized)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the model sees. B rows of L places; segment 0 is padding.

    Attributes:
        ids, targets, loss_mask, observation_mask, local_positions, intervals: as in
            `TokenSequence`.
        positions: index of each token within its segment.
        segments: tokens see their own segment only; counted from 1 in each row, 0 is padding.
        patch_index: row of `patches`, or -1.
        patches: the distinct patches of the batch, uint8, filled up with black ones.
        sources: number of each token's data source, for metrics.
    """

    ids: Int[Tensor, "B L"]
    targets: Int[Tensor, "B L"]
    loss_mask: Bool[Tensor, "B L"]
    observation_mask: Bool[Tensor, "B L"]
    positions: Int[Tensor, "B L"]
    segments: Int[Tensor, "B L"]
    local_positions: Int[Tensor, "B L"]
    patch_index: Int[Tensor, "B L"]
    intervals: Int[Tensor, "B L 4"]
    patches: UInt8[Tensor, "P channels"]
    sources: Int[Tensor, "B L"]

    @staticmethod
    def from_tensors(
        *,
        ids: Int[Tensor, "B L"],
        patches: UInt8[Tensor, "B L channels"],
        is_patch: Bool[Tensor, "B L"],
        rows: Float[Tensor, "B L 2"],
        columns: Float[Tensor, "B L 2"],
        local_positions: Int[Tensor, "B L"],
        is_observation: Bool[Tensor, "B L"],
    ) -> "Batch":
        """One sequence a row, from plain tensors, for the model on its own.

        Args:
            ids: of the tokens that are no patches.
            patches: pixels of those that are.
            rows, columns: where each patch begins and ends in its image, from 0 to 1.
            local_positions: place within the timestep's observation.
            is_observation: False for action tokens: the targets.
        """
        everywhere = torch.ones_like(ids)
        following = torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], dim=1)
        is_action = torch.cat([~is_observation[:, 1:], torch.zeros_like(is_patch[:, :1])], dim=1)
        levels = torch.round(torch.cat([rows, columns], dim=-1) * NUM_LEVELS).long()
        return Batch(
            ids=ids.masked_fill(is_patch, 0),
            targets=following,
            loss_mask=is_action,
            observation_mask=torch.zeros_like(is_action),
            positions=everywhere.cumsum(1) - 1,
            segments=everywhere,
            local_positions=local_positions.masked_fill(~is_observation, ACTION_POSITION),
            patch_index=torch.where(is_patch, is_patch.flatten().cumsum(0).view_as(ids) - 1, -1),
            intervals=levels.masked_fill(~is_patch[..., None], 0),
            patches=patches[is_patch],
            sources=torch.zeros_like(ids),
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        return Batch(**moved)


def pack(sequences: Sequence[TokenSequence], *, length: int, num_rows: int | None = None) -> Batch:
    """Lay sequences into rows of `length`, first fit.

    Raises:
        ValueError: if a sequence is longer than a row, or `num_rows` rows cannot hold them all.
    """
    rows = RowPacker[TokenSequence](length=length, num_rows=num_rows)
    for s in sequences:
        if not rows.add(s):
            room = f"rows of {length}" if num_rows is None else f"{num_rows} rows of {length}"
            raise ValueError(f"a sequence of {len(s)} tokens does not fit: {room}")
    return batch_of(rows.rows, length=length)


def batch_of(rows: Sequence[Sequence[TokenSequence]], *, length: int) -> Batch:
    """Rows of sequences, one after the other from the row's first place on."""
    places = []
    for row in rows:
        starts = np.cumsum([0, *map(len, row)])
        places.append(
            [(s, slice(start, start + len(s))) for s, start in zip(row, starts, strict=False)]
        )
    return _assemble(places, length)


class RowPacker(Generic[T]):
    """First-fit packing, one thing at a time; `num_rows=None` opens rows as needed.

    It asks things for their length alone, so that they may become sequences later.

    Attributes:
        rows: what was placed in each.
    """

    def __init__(self, *, length: int, num_rows: int | None) -> None:
        self.length, self.num_rows = length, num_rows
        self.rows: list[list[T]] = [[] for _ in range(num_rows or 0)]
        self._free: list[int] = [length] * (num_rows or 0)

    @property
    def largest_free(self) -> int:
        return max(self._free, default=0)

    def add(self, thing: T) -> bool:
        """Place it in the first row that has room; return whether there was one."""
        size = len(thing)
        for row, free in enumerate(self._free):
            if size <= free:
                self.rows[row].append(thing)
                self._free[row] -= size
                return True
        if self.num_rows is None and size <= self.length:
            self.rows.append([thing])
            self._free.append(self.length - size)
            return True
        return False


def pad(sequences: Sequence[TokenSequence]) -> Batch:
    """One sequence a row, every (timestep, leaf) padded to the widest of its kind.

    The rows are µGATO's (episodes, tokens) grids, flattened; the padding has segment 0.
    """
    num_slots = 1 + max(int(s.slots.max(initial=0)) for s in sequences)
    num_steps = 1 + max(int(s.timesteps.max(initial=0)) for s in sequences)
    widths = np.zeros(num_slots, np.int64)
    for s in sequences:
        counts = np.bincount(s.timesteps * num_slots + s.slots, minlength=num_steps * num_slots)
        widths = np.maximum(widths, counts.reshape(-1, num_slots).max(axis=0))
    starts = np.concatenate([[0], np.cumsum(widths)])
    places = []
    for s in sequences:
        cell = s.timesteps * num_slots + s.slots
        within = np.arange(len(s)) - np.searchsorted(cell, cell)
        places.append([(s, s.timesteps * starts[-1] + starts[s.slots] + within)])
    return _assemble(places, int(num_steps * starts[-1]))


def _assemble(
    rows: Sequence[Sequence[tuple[TokenSequence, np.ndarray | slice]]], length: int
) -> Batch:
    """Write each sequence's tokens to their places in its row."""
    shape = (len(rows), length)
    ids, targets, positions, segments, local, sources = np.zeros((6, *shape), np.int64)
    loss_mask, observation_mask = np.zeros((2, *shape), np.bool_)
    patch_index = np.full(shape, -1, np.int64)
    intervals = np.zeros((*shape, 4), np.int64)
    patches = _PatchTable()
    for b, row in enumerate(rows):
        segment = 1
        for s, at in row:
            ids[b, at], targets[b, at], loss_mask[b, at] = s.ids, s.targets, s.loss_mask
            observation_mask[b, at] = s.observation_mask
            positions[b, at], segments[b, at] = s.positions, segment + s.segments
            segment += int(s.segments.max(initial=-1)) + 1
            local[b, at], intervals[b, at], sources[b, at] = (
                s.local_positions,
                s.intervals,
                s.source,
            )
            if len(s.patches):
                table = np.append(patches.add(s.patches), -1)
                patch_index[b, at] = table[s.patch_index]
    return Batch(
        ids=torch.from_numpy(ids),
        targets=torch.from_numpy(targets),
        loss_mask=torch.from_numpy(loss_mask),
        observation_mask=torch.from_numpy(observation_mask),
        positions=torch.from_numpy(positions),
        segments=torch.from_numpy(segments),
        local_positions=torch.from_numpy(local),
        patch_index=torch.from_numpy(patch_index),
        intervals=torch.from_numpy(intervals),
        patches=torch.from_numpy(patches.stacked()),
        sources=torch.from_numpy(sources),
    )


class _PatchTable:
    """Distinct patches: a grid world shows the same few dozen over and over.

    Once most of what came was new, as with photographs, the table stops looking for what it has.
    """

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._rows: list[bytes] = []
        self._channels = self._seen = 0

    def add(self, patches: np.ndarray) -> np.ndarray:
        """Return each patch's row in the table."""
        self._channels = patches.shape[1]
        looked_up = self._seen < MIN_SEEN or len(self._rows) < MAX_DISTINCT * self._seen
        self._seen += len(patches)
        add = self._find if looked_up else self._append
        return np.array([add(patch.tobytes()) for patch in patches])

    def _find(self, patch: bytes) -> int:
        row = self._index.setdefault(patch, len(self._rows))
        return self._append(patch) if row == len(self._rows) else row

    def _append(self, patch: bytes) -> int:
        self._rows.append(patch)
        return len(self._rows) - 1

    def stacked(self) -> np.ndarray:
        table = np.zeros((_filled(len(self._rows)), self._channels), np.uint8)
        if self._rows:
            joined = np.frombuffer(b"".join(self._rows), np.uint8)
            table[: len(self._rows)] = joined.reshape(-1, self._channels)
        return table


def _filled(count: int) -> int:
    """Round up to one of few sizes.

    >>> [_filled(n) for n in (0, 1, 3, 200, 257)]
    [0, 1, 4, 256, 512]
    """
    if count <= PATCH_MULTIPLE:
        return 1 << (count - 1).bit_length() if count else 0
    return -(-count // PATCH_MULTIPLE) * PATCH_MULTIPLE
