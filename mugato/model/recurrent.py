"""A gated linear recurrence in place of attention: constant memory and time for each token.

Each head keeps a matrix S of keys by values. A token fades it by a gate of its own, adds what it
has to tell, and reads it: S_t = a_t S_{t-1} + k_t v_tᵀ, y_t = S_tᵀ q_t (Mamba-2's state-space
duality, Dao and Gu 2024, §6, without its convolution). In training a row is read chunk by chunk,
with matrix products within a chunk; a chunk of one token is the step in acting.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model.attention import Heads
from mugato.model.config import GatoConfig
from mugato.model.sequence_model import SequenceModel
from mugato.model.transformer import Block

# Tokens that are related by one matrix product.
CHUNK = 64
# Half of what a head remembers is gone after 1 to 500 tokens at first, spread over the heads.
SHORTEST, LONGEST = 1.0, 500.0


@dataclass(frozen=True, kw_only=True)
class RecurrentState:
    """What each row remembers of its past: of each layer, (B, H, head_size, head_size) in fp32."""

    memories: tuple[Float[Tensor, "B H head head"], ...]

    def select(self, rows: Int[Tensor, " rows"]) -> "RecurrentState":
        """Copy some rows."""
        return RecurrentState(memories=tuple(m[rows] for m in self.memories))

    def reset(self, rows: Bool[Tensor, " B"]) -> "RecurrentState":
        """Empty the marked rows."""
        marked = rows[:, None, None, None]
        return RecurrentState(memories=tuple(m.masked_fill(marked, 0.0) for m in self.memories))

    def copy_rows_from(self, other: "RecurrentState", rows: Bool[Tensor, " B"]) -> "RecurrentState":
        """Make every marked row a copy of the only row of `other`."""
        marked = rows[:, None, None, None]
        pairs = zip(self.memories, other.memories, strict=True)
        return RecurrentState(memories=tuple(torch.where(marked, new, old) for old, new in pairs))


class Recurrent(SequenceModel):
    """Blocks of recurrence and feed-forward; it knows order, and no positions.

    >>> config = GatoConfig(width=256, num_layers=1, num_heads=4, head_size=64)
    >>> state = Recurrent(config).init_state(batch_size=3, max_length=1024)
    >>> state.memories[0].shape
    torch.Size([3, 4, 64, 64])
    """

    acts_in_bf16 = True

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(
            Block(config, GatedRecurrence(config)) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def init_state(self, batch_size: int, max_length: int) -> RecurrentState:
        """Remember nothing; `max_length` does not concern a memory of constant size."""
        c, device = self.config, self.norm.weight.device
        shape = (batch_size, c.num_heads, c.head_size, c.head_size)
        memories = tuple(torch.zeros(shape, device=device) for _ in range(c.num_layers))
        return RecurrentState(memories=memories)

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        positions: Int[Tensor, "B L"],
        segments: Int[Tensor, "B L"],
        state: RecurrentState | None = None,
    ) -> tuple[Float[Tensor, "B L width"], RecurrentState | None]:
        real = segments > 0
        starts = real & (positions == 0)
        memories = (state or self.init_state(len(x), 0)).memories
        after = []
        for block, memory in zip(self.blocks, memories, strict=True):
            x, memory = self.run(_step, block, x, real, starts, memory)
            after.append(memory)
        return self.norm(x), None if state is None else RecurrentState(memories=tuple(after))


def _step(
    block: Block, x: Tensor, real: Tensor, starts: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    y, memory = block.mixer(block.norm_1(x), real, starts, memory)
    return block.feed_forward_of(block.residual(x, y)), memory


class GatedRecurrence(nn.Module):
    """The mixer: q, k and v as in attention, and for each head a gate that says what fades.

    >>> mixer = GatedRecurrence(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> real = torch.ones(1, 5, dtype=torch.bool)
    >>> y, memory = mixer(torch.randn(1, 5, 32), real, ~real, torch.zeros(1, 2, 16, 16))
    >>> y.shape, memory.shape
    (torch.Size([1, 5, 32]), torch.Size([1, 2, 16, 16]))
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.heads = Heads(config)
        self.gate = nn.Linear(config.width, config.num_heads)
        self.norm = nn.GroupNorm(config.num_heads, config.num_heads * config.head_size)
        nn.init.normal_(self.gate.weight, std=0.1 * config.width**-0.5)
        half_lives = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), config.num_heads)
        with torch.no_grad():  # softplus(bias) = ln 2 / half-life
            self.gate.bias.copy_(torch.log(torch.expm1(math.log(2) / half_lives)))

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        real: Bool[Tensor, "B L"],
        starts: Bool[Tensor, "B L"],
        memory: Float[Tensor, "B H head head"],
    ) -> tuple[Float[Tensor, "B L width"], Float[Tensor, "B H head head"]]:
        q, k, v = self.heads.split(x).float()
        # In fp32, for what fades slowly would be rounded away.
        with torch.autocast(x.device.type, enabled=False):
            # Padding fades nothing and adds nothing: the memory passes through it.
            fading = -F.softplus(self.gate(x.float())) * real[..., None]
            fading = rearrange(fading, "b l h -> b h l")
            k = k / math.sqrt(k.shape[-1]) * real[:, None, :, None]
            chunks = [z.split(CHUNK, dim=2) for z in (q, k, v, fading)]
            outputs = []
            for chunk in zip(*chunks, starts.split(CHUNK, dim=1), strict=True):
                y, memory = scan(*chunk, memory=memory)
                outputs.append(y)
            # Each head's output is normalised by itself, token by token.
            y = rearrange(torch.cat(outputs, dim=2), "b h l d -> b l (h d)")
            y = self.norm(y.flatten(0, 1)).view_as(y)
        return self.heads.out(y.to(x.dtype)), memory


def scan(
    q: Float[Tensor, "B H L head"],
    k: Float[Tensor, "B H L head"],
    v: Float[Tensor, "B H L head"],
    fading: Float[Tensor, "B H L"],
    starts: Bool[Tensor, "B L"],
    memory: Float[Tensor, "B H head head"],
) -> tuple[Float[Tensor, "B H L head"], Float[Tensor, "B H head head"]]:
    """Read a chunk of tokens: S_t = exp(fading_t) S_{t-1} + k_t v_tᵀ, y_t = S_tᵀ q_t.

    Where `starts` is set S begins anew. Returns y, and S after the last token.
    """
    faded = fading.cumsum(-1)
    number = starts.cumsum(-1)[:, None]
    order = torch.arange(q.shape[2], device=q.device)
    same = (number[..., :, None] == number[..., None, :]) & (order[:, None] >= order)
    between = (faded[..., :, None] - faded[..., None, :]).masked_fill(~same, -torch.inf).exp()
    y = ((q @ k.transpose(-1, -2)) * between) @ v
    before = faded.masked_fill(number > 0, -torch.inf).exp()[..., None]
    y = y + before * (q @ memory)
    last = between[..., -1, :, None]
    return y, before[..., -1:, :] * memory + (k * last).transpose(-1, -2) @ v
