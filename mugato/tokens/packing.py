"""Sequences to rows, two ways with the same loss: `pack` and `pad`.

`pack` lays several sequences into each row, with segment numbers and no waste; the mixture does the
same one sequence at a time (`RowPacker`). `pad` is µGATO's form: every leaf of every timestep takes
the same number of places, so that the row is a flattened (episodes, tokens) grid. It shows what is
in a batch (the notebook) and checks `pack` (tests); neither training nor acting needs it.
"""

from collections.abc import Sequence, Sized
from typing import Generic, TypeVar

import numpy as np

from mugato.tokens.batch import Batch, Layout
from mugato.tokens.sequence import TokenSequence

T = TypeVar("T", bound=Sized)


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
    """Lay the sequences of each row one after the other, from the row's first place on."""
    columns, segments = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for row in rows:
        column, segment = 0, 1
        for s in row:
            columns.append(np.arange(column, column + len(s)))
            segments.append(segment + s.segments)
            column += len(s)
            segment += int(s.segments.max(initial=-1)) + 1
    layout = Layout(
        [s for row in rows for s in row],
        rows=np.repeat(np.arange(len(rows)), [sum(map(len, row)) for row in rows]),
        columns=np.concatenate(columns),
        shape=(len(rows), length),
    )
    inputs = layout.inputs(np.concatenate(segments), fill=True)
    return Batch(inputs=inputs, targets=layout.targets())


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
    """Lay one sequence into each row, every (timestep, leaf) padded to the widest of its kind.

    The rows are µGATO's (episodes, tokens) grids, flattened; the padding has segment 0.
    """
    num_leaves = 1 + max(int(s.leaf_index.max(initial=0)) for s in sequences)
    num_timesteps = 1 + max(int(s.timesteps.max(initial=0)) for s in sequences)
    widths = np.zeros(num_leaves, np.int64)
    for s in sequences:
        cells = s.timesteps * num_leaves + s.leaf_index
        counts = np.bincount(cells, minlength=num_timesteps * num_leaves)
        widths = np.maximum(widths, counts.reshape(-1, num_leaves).max(axis=0))
    starts = np.concatenate([[0], np.cumsum(widths)])
    columns = []
    for s in sequences:
        cell = s.timesteps * num_leaves + s.leaf_index
        within = np.arange(len(s)) - np.searchsorted(cell, cell)
        columns.append(s.timesteps * starts[-1] + starts[s.leaf_index] + within)
    layout = Layout(
        sequences,
        rows=np.repeat(np.arange(len(sequences)), list(map(len, sequences))),
        columns=np.concatenate(columns),
        shape=(len(sequences), int(num_timesteps * starts[-1])),
    )
    inputs = layout.inputs(np.concatenate([1 + s.segments for s in sequences]), fill=True)
    return Batch(inputs=inputs, targets=layout.targets())
