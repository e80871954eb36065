"""Rows of running sequences: read what was observed, decode what is answered (§2.5).

Two steps make up all acting and generating: `read` some tokens, then `decode` one id for each row.
The state belongs to the `Decoder`; the model stays as it is.
"""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mugato.batch import Batch, pad
from mugato.model.gato import Gato
from mugato.sampling import Sampling, sample
from mugato.sequence import ACTION_POSITION, TokenSequence

# Tokens that are read in one forward pass; more are read in several.
CHUNK = 64


class Decoder:
    """A batch of sequences that grow together; each keeps the last `context_length` tokens."""

    def __init__(self, model: Gato, *, num_rows: int) -> None:
        self.model = model
        self.device = model.embedding.table.weight.device
        self._state = model.init_state(num_rows, model.config.context_length + CHUNK)
        self._positions = torch.zeros(num_rows, dtype=torch.int64, device=self.device)
        # Ids decoded but not yet read: they join the next forward pass.
        self._pending = torch.zeros((num_rows, 0), dtype=torch.int64, device=self.device)
        self._last: Tensor | None = None

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, sequences: Sequence[TokenSequence]) -> None:
        """Append one sequence to each row."""
        self._forward(_joined(self._pending_batch(), pad(sequences).to(self.device)))

    def decode(
        self,
        ids: range,
        sampling: Sampling,
        generators: Sequence[torch.Generator] = (),
        *,
        active: Bool[Tensor, " B"] | None = None,
    ) -> Int[Tensor, " B"]:
        """Choose the next id of each row among `ids`; rows that are not active keep their place."""
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

    def select(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        self._state = self._state.select(index)
        self._positions, self._pending = self._positions[index], self._pending[index]
        self._last = None if self._last is None else self._last[index]

    def _forward(self, batch: Batch) -> None:
        length = batch.ids.shape[1]
        for start in range(0, length, CHUNK):
            whole = length <= CHUNK
            self._forward_chunk(batch if whole else _columns(batch, slice(start, start + CHUNK)))
        self._pending = self._pending[:, :0]

    def _forward_chunk(self, batch: Batch) -> None:
        real = batch.segments > 0
        positions = self._positions[:, None] + (real.cumsum(1) - 1).clamp(min=0)
        batch = dataclasses.replace(batch, positions=positions)
        hidden, self._state = self.model.hidden(batch, self._state)
        self._positions = self._positions + real.sum(1)
        # The last real token of each row; a row without one keeps what it had.
        columns = torch.arange(real.shape[1], device=self.device)
        last = hidden[torch.arange(len(self)), (columns * real).amax(1)]
        seen = real.any(1)[:, None]
        self._last = last if self._last is None else torch.where(seen, last, self._last)

    def _pending_batch(self) -> Batch:
        """The decoded ids as model input; -1 marks a row that is finished."""
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


def _joined(first: Batch, second: Batch) -> Batch:
    """Two batches of the same rows, one behind the other; only the second may hold patches."""
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
