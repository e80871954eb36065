"""A sequence model of one's own: a recurrent network of one gate, in place of attention.

    mugato train --preset demo --model.sequence-model examples.sequence_model:MinimalGatedUnit

Vectors go in, vectors come out; what is remembered is handed in and handed back. Rows hold several
segments one behind the other, and padding: memory begins anew where a segment does (position 0),
and passes padding (segment 0) untouched. (Minimal gated unit: Zhou et al. 2016.)
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mugato.model.config import GatoConfig
from mugato.model.sequence_model import SequenceModel


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What each row remembers."""

    h: Float[Tensor, "B width"]

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        return Memory(h=self.h[rows])

    def reset(self, rows: Bool[Tensor, " B"]) -> "Memory":
        return Memory(h=self.h.masked_fill(rows[:, None], 0.0))

    def copy_rows_from(self, other: "Memory", rows: Bool[Tensor, " B"]) -> "Memory":
        return Memory(h=torch.where(rows[:, None], other.h, self.h))


class MinimalGatedUnit(SequenceModel):
    """h' = (1 - f) h + f tanh(U [x, f h]), with the gate f = sigmoid(W [x, h])."""

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * config.width, config.width)
        self.candidate = nn.Linear(2 * config.width, config.width)

    def init_state(self, batch_size: int, max_length: int) -> Memory:
        return Memory(h=self.gate.weight.new_zeros(batch_size, self.gate.out_features))

    def forward(self, x, positions, segments, state=None):
        h, outputs = (state or self.init_state(len(x), 0)).h, []
        real, starts = segments > 0, (segments > 0) & (positions == 0)
        for t in range(x.shape[1]):
            h = h.masked_fill(starts[:, t, None], 0.0)
            f = torch.sigmoid(self.gate(torch.cat([x[:, t], h], dim=-1)))
            new = torch.tanh(self.candidate(torch.cat([x[:, t], f * h], dim=-1)))
            h = torch.where(real[:, t, None], (1 - f) * h + f * new, h)
            outputs.append(h)
        return torch.stack(outputs, dim=1).to(x.dtype), state and Memory(h=h)
