"""Running sequences: prefill what was observed, decode what is answered (Reed et al. 2022, §2.5).

Two steps make up all acting and generating: `prefill` some tokens, then `decode` one id for each
row. The state belongs to the `TokenStream`; the model stays as it is.
"""

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mugato.acting.sampling import sample
from mugato.agent import Sampling
from mugato.model.gato import Gato
from mugato.model.precision import Precision, inference_weights
from mugato.system.threads import threads
from mugato.tokens.batch import Layout, ModelInput
from mugato.tokens.sequence import ACTION_POSITION, TokenSequence

# Tokens that are read in one forward pass; more are read in several.
CHUNK = 64
# Weights of the sequence model times rows up to which one thread computes: a second helps little
# on an idle machine, and beside other work each waits for the other's core (2 to 12 times slower).
ONE_THREAD = 100_000_000


class TokenStream:
    """Rows of sequences that grow together; each keeps the last `context_length` tokens.

    A step costs the same however many tokens came before. Rows may differ in length; each can be
    copied, dropped or begun anew without the others.
    """

    def __init__(self, model: Gato, *, num_rows: int, precision: Precision = "fp32") -> None:
        self.model = model
        self.device = model.embedding.table.weight.device
        self._sequence_model = inference_weights(model.sequence_model, precision)
        self._num_weights = sum(p.numel() for p in model.sequence_model.parameters())
        self._dtype = next(self._sequence_model.parameters()).dtype
        self._state = self._sequence_model.init_state(num_rows, model.config.context_length + CHUNK)
        self._positions = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
        # Ids decoded but not yet read: they join the next forward pass. -1 where there is none.
        self._pending = torch.zeros((num_rows, 0), dtype=torch.int64, device=self.device)
        self._last: Tensor | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def prefill(self, tokens: TokenSequence, rows: Int[np.ndarray, " L"] | None = None) -> None:
        """Append tokens to the row named for each of them, in ascending order; to row 0 if None."""
        rows = np.zeros(len(tokens), np.int64) if rows is None else rows
        inputs = _rows_of(tokens, rows, len(self)).to(self.device)
        self._forward(_joined(self._pending_input(), inputs))

    def decode(
        self,
        ids: range,
        sampling: Sampling,
        generators: Sequence[torch.Generator] = (),
        *,
        active: Bool[Tensor, " B"] | None = None,
        given: Int[Tensor, " B"] | None = None,
        values: Float[Tensor, " ids"] | None = None,
    ) -> Int[Tensor, " B"]:
        """Choose the next id of each row among `ids`; rows that are not active keep their place.

        Only these ids' rows of the head are read.

        Args:
            given: ids that are taken in the place of a choice; -1 where a row chooses.
            values: what the ids stand for, see `sample`.
        """
        if self._pending.shape[1]:
            self._forward(self._pending_input())
        if self._last is None:
            raise ValueError("nothing was read yet: a sequence cannot start from nothing")
        drawing: list[torch.Generator | None] = list(generators)
        if active is not None and drawing:  # a row that is over must not use up its numbers
            drawing = [g if on else None for g, on in zip(drawing, active.tolist(), strict=True)]
        with self._threads():
            chosen = sample(self.model.logits(self._last, ids), sampling, drawing, values)
        chosen = chosen + ids.start
        if given is not None:
            chosen = torch.where(given >= 0, given, chosen)
        self._pending = chosen[:, None]
        if active is not None:
            self._pending = torch.where(active[:, None], self._pending, -1)
        return chosen

    def decode_text(
        self,
        ids: range,
        sampling: Sampling,
        generators: Sequence[torch.Generator] = (),
        *,
        lengths: range,
    ) -> list[list[int]]:
        """Decode each row's ids up to and with the end of its text, which is the first of `ids`.

        Args:
            lengths: how many come before the end; where a text is longer, its first `lengths.stop`.
        """
        active = torch.ones(len(self), dtype=torch.bool, device=self.device)
        rows: list[list[int]] = [[] for _ in range(len(self))]
        for length in range(lengths.stop):
            legal = ids[1:] if length < lengths.start else ids
            chosen = self.decode(legal, sampling, generators, active=active)
            for row, token, is_on in zip(rows, chosen.tolist(), active.tolist(), strict=True):
                if is_on:
                    row.append(token)
            active = active & (chosen != ids[0])
            if not active.any():
                break
        return rows

    def select(self, rows: Sequence[int]) -> "TokenStream":
        """Copy some rows, in that order; a row may be asked for more than once."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        chosen = copy.copy(self)
        chosen._state = self._state.select(index)
        chosen._positions, chosen._pending = self._positions[index], self._pending[index]
        chosen._last = None if self._last is None else self._last[index]
        return chosen

    def copy_rows_from(self, other: "TokenStream", rows: Bool[Tensor, " B"]) -> None:
        """Make each marked row a copy of the only row of `other`, which has nothing pending."""
        if other._last is None:
            self._state = self._state.reset(rows)
        else:
            self._state = self._state.copy_rows_from(other._state, rows)
            last = other._last if self._last is None else self._last
            self._last = torch.where(rows[:, None], other._last, last)
        self._positions = torch.where(rows, other._positions, self._positions)
        self._pending = self._pending.masked_fill(rows[:, None], -1)

    def _threads(self) -> AbstractContextManager[object]:
        """Use one thread where there is little to do; how many they are is the user's otherwise."""
        small = self._num_weights * len(self) <= ONE_THREAD
        return threads(1) if small and self.device.type == "cpu" else nullcontext()

    def _forward(self, inputs: ModelInput) -> None:
        length = inputs.ids.shape[1]
        with self._threads():
            for start in range(0, length, CHUNK):
                columns = slice(start, start + CHUNK)
                self._forward_chunk(inputs if length <= CHUNK else _columns(inputs, columns))
        self._pending = self._pending[:, :0]

    def _forward_chunk(self, inputs: ModelInput) -> None:
        real = inputs.segments > 0
        columns = torch.arange(real.shape[1], device=self.device)
        # A row's tokens stand side by side, so that all its places can be counted through.
        first = real.to(torch.uint8).argmax(1)
        positions = (self._positions - first)[:, None] + columns
        x = self.model.embed(inputs).to(self._dtype)
        hidden, self._state = self._sequence_model(x, positions, inputs.segments, self._state)
        self._positions = self._positions + real.sum(1)
        # The last real token of each row; a row without one keeps what it had.
        last = hidden[torch.arange(len(self), device=self.device), (columns * real).amax(1)]
        last, seen = last.to(self.model.embedding.table.weight.dtype), real.any(1)[:, None]
        self._last = last if self._last is None else torch.where(seen, last, self._last)

    def _pending_input(self) -> ModelInput:
        """Return the decoded ids as model input."""
        ids = self._pending
        zeros = torch.zeros_like(ids)
        return ModelInput(
            ids=ids.clamp(min=0),
            positions=zeros,
            segments=(ids >= 0).long(),
            local_positions=torch.full_like(ids, ACTION_POSITION),
            patch_index=torch.full_like(ids, -1),
            intervals=zeros[..., None].expand(*ids.shape, 4),
            patches=torch.zeros((0, 0), dtype=torch.uint8, device=self.device),
        )


def _rows_of(s: TokenSequence, rows: Int[np.ndarray, " L"], num_rows: int) -> ModelInput:
    """Lay tokens into rows from the left; `rows` ascend."""
    counts = np.bincount(rows, minlength=num_rows)
    columns = np.arange(len(s)) - (np.cumsum(counts) - counts)[rows]
    shape = (num_rows, int(counts.max()))
    layout = Layout([s], rows=rows, columns=columns, shape=shape)
    return layout.inputs(np.ones(len(s), np.int64), fill=False)


def _joined(first: ModelInput, second: ModelInput) -> ModelInput:
    """Put inputs of the same rows one behind the other; only the second may hold patches."""
    if not first.ids.shape[1]:
        return second
    fields = {
        f.name: torch.cat([getattr(first, f.name), getattr(second, f.name)], dim=1)
        for f in dataclasses.fields(ModelInput)
        if f.name != "patches"
    }
    return ModelInput(**fields, patches=second.patches)


def _columns(inputs: ModelInput, columns: slice) -> ModelInput:
    """Take some columns, and only the patches that stand in them."""
    fields = {
        f.name: getattr(inputs, f.name)[:, columns]
        for f in dataclasses.fields(ModelInput)
        if f.name != "patches"
    }
    index = fields["patch_index"]
    used, row = index.clamp(min=0).unique(return_inverse=True)
    patches = inputs.patches[used] if len(inputs.patches) else inputs.patches
    fields["patch_index"] = torch.where(index >= 0, row, -1)
    return ModelInput(**fields, patches=patches)
