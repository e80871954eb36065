"""Rows of running sequences: read what was observed, decode what is answered (§2.5).

Two steps make up all acting and generating: `read` some tokens, then `decode` one id for each row.
The state belongs to the `Decoder`; the model stays as it is.
"""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mugato.acting.sampling import Sampling, sample
from mugato.model.gato import Gato
from mugato.model.precision import Precision, acting_weights
from mugato.tokens.batch import Batch
from mugato.tokens.sequence import ACTION_POSITION, TokenSequence

# Tokens that are read in one forward pass; more are read in several.
CHUNK = 64


class Decoder:
    """A batch of sequences that grow together; each keeps the last `context_length` tokens.

    A step costs the same however many tokens came before. Rows may differ in length; each can be
    copied, dropped or begun anew without the others.
    """

    def __init__(self, model: Gato, *, num_rows: int, precision: Precision = "fp32") -> None:
        self.model = model
        self.device = model.embedding.table.weight.device
        self._sequence_model = acting_weights(model.sequence_model, precision)
        self._dtype = next(self._sequence_model.parameters()).dtype
        self._state = self._sequence_model.init_state(num_rows, model.config.context_length + CHUNK)
        self._positions = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
        # Ids decoded but not yet read: they join the next forward pass. -1 where there is none.
        self._pending = torch.zeros((num_rows, 0), dtype=torch.int64, device=self.device)
        self._last: Tensor | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, tokens: TokenSequence, rows: Int[np.ndarray, " L"]) -> None:
        """Append tokens to the rows named for each of them, in ascending order."""
        batch = _lines(tokens, rows, len(self)).to(self.device)
        self._forward(_joined(self._pending_batch(), batch))

    def decode(
        self,
        ids: range,
        sampling: Sampling,
        generators: Sequence[torch.Generator] = (),
        *,
        active: Bool[Tensor, " B"] | None = None,
    ) -> Int[Tensor, " B"]:
        """Choose the next id of each row among `ids`; rows that are not active keep their place.

        Only these ids' rows of the head are read.
        """
        if self._pending.shape[1]:
            self._forward(self._pending_batch())
        if self._last is None:
            raise ValueError("nothing was read yet: a sequence cannot start from nothing")
        drawing: list[torch.Generator | None] = list(generators)
        if active is not None and drawing:  # a row that is over must not use up its numbers
            drawing = [g if on else None for g, on in zip(drawing, active.tolist(), strict=True)]
        chosen = sample(self.model.logits(self._last, ids), sampling, drawing) + ids.start
        self._pending = chosen[:, None]
        if active is not None:
            self._pending = torch.where(active[:, None], self._pending, -1)
        return chosen

    def decode_text(
        self,
        ids: range,
        end: int,
        sampling: Sampling,
        generators: Sequence[torch.Generator] = (),
        *,
        max_tokens: int,
    ) -> list[list[int]]:
        """Each row's ids up to and with its `end`, or `max_tokens` of them."""
        active = torch.ones(len(self), dtype=torch.bool, device=self.device)
        rows: list[list[int]] = [[] for _ in range(len(self))]
        for _ in range(max_tokens):
            chosen = self.decode(ids, sampling, generators, active=active)
            for row, token, is_on in zip(rows, chosen.tolist(), active.tolist(), strict=True):
                if is_on:
                    row.append(token)
            active = active & (chosen != end)
            if not active.any():
                break
        return rows

    def select(self, rows: Sequence[int]) -> "Decoder":
        """A copy of some rows, in that order; a row may be asked for more than once."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        chosen = copy.copy(self)
        chosen._state = self._state.select(index)
        chosen._positions, chosen._pending = self._positions[index], self._pending[index]
        chosen._last = None if self._last is None else self._last[index]
        return chosen

    def put(self, rows: Bool[Tensor, " B"], other: "Decoder") -> None:
        """Each marked row becomes a copy of the only row of `other`, which has nothing pending."""
        if other._last is None:
            self._state = self._state.reset(rows)
        else:
            self._state = self._state.put(rows, other._state)
            last = other._last if self._last is None else self._last
            self._last = torch.where(rows[:, None], other._last, last)
        self._positions = torch.where(rows, other._positions, self._positions)
        self._pending = self._pending.masked_fill(rows[:, None], -1)

    def _forward(self, batch: Batch) -> None:
        length = batch.ids.shape[1]
        for start in range(0, length, CHUNK):
            whole = length <= CHUNK
            self._forward_chunk(batch if whole else _columns(batch, slice(start, start + CHUNK)))
        self._pending = self._pending[:, :0]

    def _forward_chunk(self, batch: Batch) -> None:
        real = batch.segments > 0
        columns = torch.arange(real.shape[1], device=self.device)
        # A row's tokens stand side by side, so that all its places can be counted through.
        first = real.to(torch.uint8).argmax(1)
        positions = (self._positions - first)[:, None] + columns
        x = self.model.embed(batch).to(self._dtype)
        hidden, self._state = self._sequence_model(x, positions, batch.segments, self._state)
        self._positions = self._positions + real.sum(1)
        # The last real token of each row; a row without one keeps what it had.
        last = hidden[torch.arange(len(self), device=self.device), (columns * real).amax(1)]
        last, seen = last.to(self.model.embedding.table.weight.dtype), real.any(1)[:, None]
        self._last = last if self._last is None else torch.where(seen, last, self._last)

    def _pending_batch(self) -> Batch:
        """The decoded ids as model input."""
        ids = self._pending
        zeros = torch.zeros_like(ids)
        return Batch(
            ids=ids.clamp(min=0),
            targets=zeros,
            loss_mask=zeros.bool(),
            observation_mask=zeros.bool(),
            positions=zeros,
            segments=(ids >= 0).long(),
            local_positions=torch.full_like(ids, ACTION_POSITION),
            patch_index=torch.full_like(ids, -1),
            intervals=zeros[..., None].expand(*ids.shape, 4),
            patches=torch.zeros((0, 0), dtype=torch.uint8, device=self.device),
            sources=zeros,
        )


def _lines(s: TokenSequence, rows: Int[np.ndarray, " L"], num_rows: int) -> Batch:
    """Tokens laid into rows from the left; `rows` ascend. What only training needs stays zero."""
    counts = np.bincount(rows, minlength=num_rows)
    places = rows, np.arange(len(s)) - (np.cumsum(counts) - counts)[rows]
    shape = (num_rows, int(counts.max()))

    def laid(values: np.ndarray | int, blank: int = 0, width: tuple[int, ...] = ()) -> Tensor:
        array = np.full((*shape, *width), blank, np.int64)
        array[places] = values
        return torch.from_numpy(array)

    patches, index = _distinct(s)
    zeros = torch.zeros(shape, dtype=torch.int64)
    return Batch(
        ids=laid(s.ids),
        targets=zeros,
        loss_mask=zeros.bool(),
        observation_mask=zeros.bool(),
        positions=zeros,
        segments=laid(1),
        local_positions=laid(s.local_positions),
        patch_index=laid(index, blank=-1),
        intervals=laid(s.intervals, width=(4,)),
        patches=torch.tensor(patches),
        sources=zeros,
    )


def _distinct(s: TokenSequence) -> tuple[np.ndarray, np.ndarray]:
    """The distinct patches, and each token's among them: a grid world shows the same over again."""
    numbers: dict[bytes, int] = {}
    index = np.array([numbers.setdefault(p.tobytes(), len(numbers)) for p in s.patches] + [-1])
    if len(numbers) == len(s.patches):
        return s.patches, s.patch_index
    table = np.frombuffer(b"".join(numbers), np.uint8).reshape(len(numbers), -1)
    return table, index[s.patch_index]


def _joined(first: Batch, second: Batch) -> Batch:
    """Two batches of the same rows, one behind the other; only the second may hold patches."""
    if not first.ids.shape[1]:
        return second
    fields = {
        f.name: torch.cat([getattr(first, f.name), getattr(second, f.name)], dim=1)
        for f in dataclasses.fields(Batch)
        if f.name != "patches"
    }
    return Batch(**fields, patches=second.patches)


def _columns(batch: Batch, columns: slice) -> Batch:
    fields = {
        f.name: getattr(batch, f.name)[:, columns]
        for f in dataclasses.fields(Batch)
        if f.name != "patches"
    }
    # Only the patches that stand in these columns: each goes through the ResNet block once.
    index = fields["patch_index"]
    used, row = index.clamp(min=0).unique(return_inverse=True)
    patches = batch.patches[used] if len(batch.patches) else batch.patches
    fields["patch_index"] = torch.where(index >= 0, row, -1)
    return Batch(**fields, patches=patches)
