"""A pre-norm GEGLU transformer (Reed et al. 2022, App. C.1), with one of two kinds of attention.

Sub-layers: attention and feed-forward, each behind a LayerNorm, with dropout and stochastic depth.
Reads on in `attention.py`.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model.attention import RelativeAttention, RotaryAttention
from mugato.model.attention_mask import AttentionMask
from mugato.model.config import GatoConfig
from mugato.model.kv_cache import KVCache, RelativePositionTable
from mugato.model.sequence_model import SequenceModel


class Transformer(SequenceModel):
    """Blocks of attention and feed-forward.

    `config.sequence_model` chooses between "rotary" and "transformer-xl" attention. With a state,
    Transformer-XL also sees `config.memory_length` tokens beyond the context (§2.5).

    >>> config = GatoConfig(width=32, num_layers=2, num_heads=2, head_size=16, hidden_size=64)
    >>> model = Transformer(config)
    >>> positions = torch.arange(5)[None]
    >>> model(torch.randn(1, 5, 32), positions, torch.ones_like(positions))[0].shape
    torch.Size([1, 5, 32])
    """

    acts_in_bf16 = True

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        attention = RelativeAttention if config.is_relative else RotaryAttention
        self.blocks = nn.ModuleList(
            Block(config, attention(config)) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def init_state(self, batch_size: int, max_length: int) -> KVCache:
        """Make an empty ring of the norms' dtype, and each layer's table where distances count."""
        c, like = self.config, self.norm.weight
        max_length += c.memory_length
        attentions: list[Any] = [block.mixer for block in self.blocks] if c.is_relative else []
        tables = tuple(
            RelativePositionTable.of(
                a.project(a.encode_distances(a.max_distance)),
                max_length=max_length,
                dtype=like.dtype,
            )
            for a in attentions
        )
        shape = (c.num_layers, batch_size, c.num_heads, c.head_size)
        return KVCache.empty(shape, max_length=max_length, like=like, position_tables=tables)

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        positions: Int[Tensor, "B L"],
        segments: Int[Tensor, "B L"],
        state: KVCache | None = None,
    ) -> tuple[Float[Tensor, "B L width"], KVCache | None]:
        c = self.config
        if state is None:
            mask = AttentionMask.of_rows(positions, segments, c.context_length, x.dtype)
            caches = [None] * c.num_layers
        else:
            state, caches = state.advance(positions, segments)
            mask = AttentionMask(
                positions=positions,
                key_positions=state.positions[:, :-1],
                max_distance=c.context_length + c.memory_length,
                dtype=x.dtype,
            )
        first: Any = self.blocks[0].mixer
        in_state = state is not None and c.is_relative  # projected once, when the state was made
        encoding = None if in_state else first.encode(mask)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = self.run(block, x, mask, encoding, cache)
        return self.norm(x), state


class Block(nn.Module):
    """Two sub-layers: x + mixer(norm(x)), then x + feed_forward(norm(x)) (App. C.1).

    The mixer, which lets tokens see each other, is attention or a recurrence. In training each
    sub-layer has dropout, and stochastic depth (App. D).

    >>> Block(GatoConfig(width=32, hidden_size=64), nn.Identity())(torch.randn(1, 5, 32)).shape
    torch.Size([1, 5, 32])
    """

    def __init__(self, config: GatoConfig, mixer: nn.Module) -> None:
        super().__init__()
        self.stochastic_depth = config.stochastic_depth
        self.norm_1 = nn.LayerNorm(config.width)
        self.mixer = mixer
        self.norm_2 = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "B L width"], *context: object
    ) -> Float[Tensor, "B L width"]:
        """Run both sub-layers; `context` is handed to the mixer."""
        return self.feed_forward_of(self.residual(x, self.mixer(self.norm_1(x), *context)))

    def feed_forward_of(self, x: Float[Tensor, "B L width"]) -> Float[Tensor, "B L width"]:
        """Run the second sub-layer."""
        return self.residual(x, self.feed_forward(self.norm_2(x)))

    def residual(self, x: Float[Tensor, "B L width"], y: Tensor) -> Float[Tensor, "B L width"]:
        """Add what a sub-layer computed; in training with dropout, and for some rows not at all."""
        y = self.dropout(y)
        if self.training and self.stochastic_depth > 0:
            keep = torch.rand(len(y), 1, 1, device=y.device) >= self.stochastic_depth
            y = y * keep / (1 - self.stochastic_depth)
        return x + y


class FeedForward(nn.Module):
    """GEGLU (Shazeer 2020); `hidden_size` counts the gate and the value together (App. C.1).

    >>> FeedForward(GatoConfig(width=32, hidden_size=64))(torch.randn(5, 32)).shape
    torch.Size([5, 32])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        half = config.hidden_size // 2
        self.up = nn.Linear(config.width, config.hidden_size, bias=config.bias)
        self.down = nn.Linear(half, config.width, bias=config.bias)
        nn.init.normal_(self.up.weight, std=config.width**-0.5)
        nn.init.normal_(self.down.weight, std=(half * 2 * config.num_layers) ** -0.5)
        for linear in (self.up, self.down):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, x: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.gelu(gate) * value)
