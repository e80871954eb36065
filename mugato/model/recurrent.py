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
        """A copy of some rows."""
        return RecurrentState(memories=tuple(m[rows] for m in self.memories))

    def reset(self, rows: Bool[Tensor, " B"]) -> "RecurrentState":
        """The marked rows empty."""
        marked = rows[:, None, None, None]
        return RecurrentState(memories=tuple(m.masked_fill(marked, 0.0) for m in self.memories))

    def copy_rows_from(self, other: "RecurrentState", rows: Bool[Tensor, " B"]) -> "RecurrentState":
        """Every marked row becomes a copy of the only row of `other`."""
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

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(
            Block(config, GatedRecurrence(config)) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def init_state(self, batch_size: int, max_length: int) -> RecurrentState:
        """Nothing remembered; `max_length` is of no concern to a memory of constant size."""
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
        with torch.autocast(x.device.type, enabled=False):
            y, memory = self._read(q, k, v, x.float(), real, starts, memory)
        return self.heads.join(y.to(x.dtype)), memory

    def _read(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        x: Tensor,
        real: Tensor,
        starts: Tensor,
        memory: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """All in fp32: what fades slowly would be rounded away."""
        # Padding fades nothing and adds nothing: the memory passes through it.
        fading = rearrange(-F.softplus(self.gate(x)) * real[..., None], "b l h -> b h l")
        k = k / math.sqrt(k.shape[-1]) * real[:, None, :, None]
        outputs = []
        for at in range(0, x.shape[1], CHUNK):
            cut = slice(at, at + CHUNK)
            y, memory = scan(
                q[:, :, cut], k[:, :, cut], v[:, :, cut], fading[:, :, cut], starts[:, cut], memory
            )
            outputs.append(y)
        y = torch.cat(outputs, dim=2)
        # Each head's output is normalised by itself, token by token.
        b, length = y.shape[0], y.shape[2]
        y = self.norm(rearrange(y, "b h l d -> (b l) (h d)"))
        y = rearrange(y, "(b l) (h d) -> b h l d", b=b, l=length, h=self.heads.num_heads)
        return y, memory


def scan(
    q: Float[Tensor, "B H L head"],
    k: Float[Tensor, "B H L head"],
    v: Float[Tensor, "B H L head"],
    fading: Float[Tensor, "B H L"],
    starts: Bool[Tensor, "B L"],
    memory: Float[Tensor, "B H head head"],
) -> tuple[Float[Tensor, "B H L head"], Float[Tensor, "B H head head"]]:
    """Read some tokens at once: S_t = exp(fading_t) S_{t-1} + k_t v_tᵀ, y_t = S_tᵀ q_t.

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
