"""Sources mixed by weight within each batch, on Grain; a pure function of its state.

A weight is a share of the tokens. The endless stream of windows is dealt to `num_parts` parts in
turn, and each part packs its own rows: whoever computes a part, on however many processes, gets the
same rows, and no two parts see the same draw.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mugato.batch import Batch, RowPacker
from mugato.data.windows import Windows
from mugato.sequence import TokenSequence

# How many windows that do not fit a batch wait for the next one before the batch is closed.
MAX_WAITING = 32
# Windows drawn to learn how many tokens one of a source's windows has on average.
NUM_PROBES = 64


@dataclass(frozen=True, kw_only=True)
class PartState:
    """Where one part of the stream stands: everything before `next` was used, except `waiting`."""

    next: int = 0
    waiting: tuple[int, ...] = ()


class Mixture:
    """The batches of one run. `batch` depends on nothing but its arguments."""

    def __init__(
        self,
        windows: Sequence[Windows],
        *,
        weights: Mapping[str, float],
        num_rows: int,
        row_length: int,
        num_parts: int,
        seed: int,
    ) -> None:
        names = [w.name for w in windows]
        if set(weights) != set(names):
            raise ValueError(f"weights must name the sources: {sorted(weights)} != {sorted(names)}")
        if num_rows % num_parts:
            raise ValueError(f"{num_rows} rows cannot be cut into {num_parts} equal parts")
        self.windows, self.names = list(windows), names
        self.num_parts, self.row_length = num_parts, row_length
        self._rows_per_part = num_rows // num_parts
        self._stream = _stream(self.windows, [weights[name] for name in names], seed)

    def start(self) -> tuple[PartState, ...]:
        """The state before the first batch, one for each part."""
        return (PartState(),) * self.num_parts

    def batch(self, part: int, state: PartState) -> tuple[Batch, PartState]:
        """Pack the next rows of one part; return them with the state after them."""
        rows = RowPacker(length=self.row_length, num_rows=self._rows_per_part)
        waiting = [i for i in state.waiting if not rows.add(self.sequence(part, i))]
        number = state.next
        while len(waiting) < MAX_WAITING and rows.largest_free > 0:
            if not rows.add(self.sequence(part, number)):
                waiting.append(number)
            number += 1
        return rows.batch(), PartState(next=number, waiting=tuple(waiting))

    def sequence(self, part: int, number: int) -> TokenSequence:
        """The window of this number in one part's share of the stream."""
        return self._stream[number * self.num_parts + part]


def _stream(windows: Sequence[Windows], weights: Sequence[float], seed: int) -> Any:
    """An endless Grain dataset of token sequences, addressed by number."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Grain looks for JAX and warns without it
    from grain import MapDataset

    datasets, items = [], []
    for number, (w, weight) in enumerate(zip(windows, weights, strict=True)):
        if weight < 0:
            raise ValueError(f"the weight of {w.name!r} is negative: {weight}")
        items.append(weight / _mean_tokens(w))
        dataset = MapDataset.source(range(len(w))).seed(seed + 1000 * number).shuffle().repeat()
        datasets.append(dataset.random_map(_Draw(w)))
    return MapDataset.mix(datasets, weights=[x / sum(items) for x in items])


def _mean_tokens(windows: Windows) -> float:
    generator = np.random.default_rng(0)
    picked = generator.integers(len(windows), size=NUM_PROBES)
    return float(np.mean([len(windows.draw(windows.item(int(i)), generator)) for i in picked]))


@dataclass(frozen=True)
class _Draw:
    """One random window of the item that Grain hands over."""

    windows: Windows

    def __call__(self, index: int, generator: np.random.Generator) -> TokenSequence:
        return self.windows.draw(self.windows.item(index), generator)
