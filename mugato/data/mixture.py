"""Sources mixed by weight within each batch; a pure function of its state.

A weight is a share of the tokens. Each next window comes from the source that is furthest behind
its share, so that what a shard drew never strays from the weights by more than a row. Within a
source windows come in a shuffled order, of the whole data set and anew in each epoch.

The endless stream of each source is dealt to *shards* in turn, a few for each microbatch, and a
microbatch's rows come from its shards in turn. Whoever computes a shard's next rows, in however
many processes and however far ahead, gets the same, and no two shards see the same draw.
"""

import heapq
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from mugato.data.windows import Window, Windows
from mugato.tokens.batch import Batch
from mugato.tokens.packing import RowPacker, batch_of
from mugato.tokens.sequence import TokenSequence

# How many windows that do not fit a batch wait for the next one before the batch is closed.
MAX_WAITING = 16
# Batches of one microbatch that can be computed at the same time.
NUM_SHARDS = 4
# Grain's shuffle takes 8 ms a piece where there are 6, 1 ms where there are 50, 0.03 of 2,000: it
# draws numbers until one is a piece's. Fewer than this are shuffled as a whole.
FEW = 4096

Weights = Mapping[str, float] | str


@dataclass(frozen=True, kw_only=True)
class ShardState:
    """Where one shard stands.

    Attributes:
        taken: windows taken from each source, those that wait included.
        tokens: of them; begun at a random number, so that shards do not draw a rare source at once.
        waiting: windows that found no room yet: source, number within the shard, tokens.
    """

    taken: tuple[int, ...]
    tokens: tuple[int, ...]
    waiting: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MicrobatchState:
    """Where one microbatch of the stream stands: its shards, and which of them is next."""

    shards: tuple[ShardState, ...]
    next_shard: int = 0

    def after(self, shard: ShardState) -> "MicrobatchState":
        """Return the state when the next shard has come to `shard`."""
        shards = (*self.shards[: self.next_shard], shard, *self.shards[self.next_shard + 1 :])
        return MicrobatchState(shards=shards, next_shard=(self.next_shard + 1) % len(shards))

    def without_waiting(self) -> "MicrobatchState":
        """Return the state in which no window waits."""
        return replace(self, shards=tuple(replace(shard, waiting=()) for shard in self.shards))


class Mixture:
    """The batches of one run. `batch` depends on nothing but its arguments.

    Attributes:
        windows, names, shares: of the sources, in one order; the shares sum to 1.
        num_microbatches: equal microbatches of the batch.
        row_length: in tokens.
    """

    def __init__(
        self,
        windows: Sequence[Windows],
        *,
        weights: Weights,
        num_rows: int,
        row_length: int,
        num_microbatches: int,
        seed: int,
    ) -> None:
        if num_rows % num_microbatches:
            raise ValueError(
                f"{num_rows} rows cannot be cut into {num_microbatches} equal microbatches"
            )
        self.windows, self.names = list(windows), [w.name for w in windows]
        self.num_microbatches, self.row_length = num_microbatches, row_length
        self.shares = list(shares(weights, self.windows).values())
        self._rows_per_microbatch, self._seed = num_rows // num_microbatches, seed
        self._streams = [_stream(w, seed + 1000 * i) for i, w in enumerate(self.windows)]

    def start(self) -> tuple[MicrobatchState, ...]:
        """Return the state before the first batch, one for each microbatch."""
        return tuple(
            MicrobatchState(
                shards=tuple(self._shard_start(microbatch, shard) for shard in range(NUM_SHARDS))
            )
            for microbatch in range(self.num_microbatches)
        )

    def batch(self, microbatch: int, state: MicrobatchState) -> tuple[Batch, MicrobatchState]:
        """Pack the next rows of one microbatch; return them with the state after them."""
        batch, shard = self.shard_batch(
            microbatch, state.next_shard, state.shards[state.next_shard]
        )
        return batch, state.after(shard)

    def shard_batch(
        self, microbatch: int, shard: int, state: ShardState
    ) -> tuple[Batch, ShardState]:
        """Pack the next rows of one shard; return them with the state after them."""
        if len(state.taken) != len(self.windows):
            raise ValueError(
                f"the state is that of {len(state.taken)} sources, the mixture has "
                f"{len(self.windows)}: {', '.join(self.names)}"
            )
        rows = RowPacker[_Placed](length=self.row_length, num_rows=self._rows_per_microbatch)
        waiting = [drawn for drawn in state.waiting if not rows.add(_Placed(*drawn))]
        order = _Order(state, self.shares)
        while len(waiting) < MAX_WAITING and rows.largest_free > 0:
            source, number = order.next()
            window = self.window(microbatch, shard, source, number)
            order.count(source, len(window))
            if not rows.add(_Placed(source, number, len(window), window)):
                waiting.append((source, number, len(window)))
        sequences = [
            [self._encoded(microbatch, shard, placed) for placed in row] for row in rows.rows
        ]
        return batch_of(sequences, length=self.row_length), order.state(waiting)

    def window(self, microbatch: int, shard: int, source: int, number: int) -> Window:
        """Sample a source's window of this number in one shard's share of its stream."""
        place = microbatch * NUM_SHARDS + shard
        return self._streams[source][number * self.num_microbatches * NUM_SHARDS + place]

    def _encoded(self, microbatch: int, shard: int, placed: "_Placed") -> TokenSequence:
        window = placed.window or self.window(microbatch, shard, placed.source, placed.number)
        return self.windows[placed.source].encode(window)

    def _shard_start(self, microbatch: int, shard: int) -> ShardState:
        generator = np.random.default_rng((self._seed, microbatch, shard))
        begun = generator.integers(self.row_length, size=len(self.windows))
        return ShardState(taken=(0,) * len(begun), tokens=tuple(begun.tolist()))


def shares(weights: Weights, windows: Sequence[Windows]) -> dict[str, float]:
    """Each source's share of the tokens; they sum to 1.

    Args:
        weights: by name, or "uniform", or "by_tokens": as many as the source has.

    Raises:
        ValueError: names that are not those of the sources, listing those; weights that are
            negative or no numbers, or zero altogether.
    """
    match weights:
        case "uniform":
            named = {w.name: 1.0 for w in windows}
        case "by_tokens":
            named = {w.name: float(w.num_tokens) for w in windows}
        case Mapping():
            named = dict(weights)
        case _:
            raise ValueError(f"weights are by name, 'uniform' or 'by_tokens', not {weights!r}")
    names = [w.name for w in windows]
    if len(set(names)) < len(names):
        raise ValueError(f"two sources have the same name: {sorted(names)}")
    if set(named) != set(names):
        raise ValueError(f"weights must name the sources: {sorted(named)} != {sorted(names)}")
    for name, weight in named.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"the weight of {name!r} must be a number from 0 on, got {weight}")
    if not (total := sum(named.values())):
        raise ValueError(f"all weights are 0: {sorted(names)}")
    return {name: named[name] / total for name in names}


def quiet_grain() -> None:
    """Call before Grain is imported: it looks for JAX and warns without it."""
    logging.getLogger("absl").setLevel(logging.ERROR)


@dataclass(frozen=True)
class _Placed:
    """A window in a row; one that waited is chosen again when it is encoded."""

    source: int
    number: int
    num_tokens: int
    window: Window | None = None

    def __len__(self) -> int:
        return self.num_tokens


class _Order:
    """What one shard has drawn, and which source is next: the one furthest behind its share."""

    def __init__(self, state: ShardState, shares: Sequence[float]) -> None:
        self._taken, self._tokens, self._shares = list(state.taken), list(state.tokens), shares
        self._behind = [
            (tokens / share, i)
            for i, (tokens, share) in enumerate(zip(state.tokens, shares, strict=True))
            if share > 0
        ]
        heapq.heapify(self._behind)

    def next(self) -> tuple[int, int]:
        """Return the source to draw from, and the number of its next window."""
        source = self._behind[0][1]
        self._taken[source] += 1
        return source, self._taken[source] - 1

    def count(self, source: int, num_tokens: int) -> None:
        """Note how long the window was."""
        self._tokens[source] += num_tokens
        heapq.heapreplace(self._behind, (self._tokens[source] / self._shares[source], source))

    def state(self, waiting: Sequence[tuple[int, int, int]]) -> ShardState:
        return ShardState(
            taken=tuple(self._taken), tokens=tuple(self._tokens), waiting=tuple(waiting)
        )


def _stream(windows: Windows, seed: int) -> Any:
    """Make an endless Grain dataset of one source's windows, addressed by number."""
    quiet_grain()
    from grain import MapDataset

    dataset = MapDataset.source(range(len(windows))).seed(seed)
    if len(windows) < FEW:
        dataset = dataset.repeat().map_with_index(_Shuffled(len(windows), seed))
    else:
        dataset = dataset.shuffle().repeat()
    return dataset.random_map(_Sample(windows))


@dataclass(frozen=True)
class _Shuffled:
    """Gives the piece at a place of the endless stream, shuffled anew in each epoch."""

    length: int
    seed: int

    def __call__(self, number: int, piece: int) -> int:
        epoch, place = divmod(number, self.length)
        return int(_permutation(self.length, self.seed, epoch)[place])


@lru_cache(maxsize=256)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


@dataclass(frozen=True)
class _Sample:
    """Sample a window of the piece whose number Grain hands over."""

    windows: Windows

    def __call__(self, index: int, generator: np.random.Generator) -> Window:
        return self.windows.sample(self.windows.item_of(index), generator)
