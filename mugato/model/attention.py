"""Attention over what a token may see: rotary (our presets) or relative (the paper's, App. C.1).

Both keep their keys as they are where positions do not change them, so that one ring of keys and
values serves both; what differs is how the distance between two tokens enters the score.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model.attention_mask import Sight
from mugato.model.blockwise_attention import blockwise_attention
from mugato.model.config import GatoConfig
from mugato.model.positions import pick, rotary_angles, rotate, sinusoids
from mugato.model.ring_attention import Cache


class RotaryAttention(nn.Module):
    """Multi-head attention; queries and keys are turned by their positions (Su et al. 2021).

    >>> attention = RotaryAttention(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> positions = torch.arange(5)[None]
    >>> sight = Sight.of_rows(positions, torch.ones_like(positions), 1024, torch.float32)
    >>> attention(torch.randn(1, 5, 32), sight, attention.encode(sight)).shape
    torch.Size([1, 5, 32])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.heads = Heads(config)
        self.head_size = config.head_size

    def encode(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the queries' angles, the same for every layer."""
        return rotary_angles(sight.positions, self.head_size)

    def forward(
        self,
        x: Float[Tensor, "B Q width"],
        sight: Sight,
        encoding: tuple[Tensor, Tensor],
        cache: Cache | None = None,
    ) -> Float[Tensor, "B Q width"]:
        qkv = self.heads.split(x)
        (q, k), v = rotate(qkv[:2], encoding), qkv[2].contiguous()
        if cache is not None:
            return self.heads.join(cache.attend(q, k, v, sight))
        return self.heads.join(attend(q, k, v, sight))


class RelativeAttention(nn.Module):
    """Transformer-XL's attention: content and position terms (Dai et al. 2019, §3.3).

    score(i, j) = (q_i + u)·k_j + (q_i + v)·W_r R_{i-j}, over √head_size: R are sinusoids of the
    distance, W_r this layer's own projection of them, u and v two learned vectors for each head.
    The published sizes of Gato imply it (App. C.1).

    >>> attention = RelativeAttention(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> positions = torch.arange(5)[None]
    >>> sight = Sight.of_rows(positions, torch.ones_like(positions), 1024, torch.float32)
    >>> attention(torch.randn(1, 5, 32), sight, attention.encode(sight)).shape
    torch.Size([1, 5, 32])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_size
        self.width = config.width
        self.num_heads = config.num_heads
        self.reach = config.context_length + config.memory_length
        self.heads = Heads(config)
        self.relative = nn.Linear(config.width, inner, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(config.num_heads, 1, config.head_size))
        self.position_bias = nn.Parameter(torch.zeros(config.num_heads, 1, config.head_size))
        nn.init.normal_(self.relative.weight, std=config.width**-0.5)

    def encode(self, sight: Sight) -> Float[Tensor, "D width"]:
        """Sinusoids of the distances, farthest first, the same for every layer."""
        return self.sinusoids(sight.positions.shape[1] + 1 if sight.aligned else self.reach)

    def sinusoids(self, length: int) -> Float[Tensor, "D width"]:
        """Of the distances `length` - 1 to 0."""
        distances = torch.arange(length - 1, -1, -1, device=self.content_bias.device)
        return sinusoids(distances, self.width)

    def project(self, encoding: Float[Tensor, "D width"]) -> Float[Tensor, "H D head"]:
        """This layer's view of the distances; a running state keeps it."""
        return rearrange(self.relative(encoding), "d (h e) -> h d e", h=self.num_heads)

    def forward(
        self,
        x: Float[Tensor, "B Q width"],
        sight: Sight,
        encoding: Float[Tensor, "D width"] | None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B Q width"]:
        """The distances come as `encoding`, or projected in the `cache`."""
        q, k, v = self.heads.split(x)
        p = q + self.position_bias.to(q.dtype)
        q = q + self.content_bias.to(q.dtype)
        if cache is not None:
            return self.heads.join(cache.attend(q, k, v, sight, by_distance=p))
        assert encoding is not None
        by_distance = (p, self.project(encoding))
        return self.heads.join(attend(q, k, v, sight, by_distance=by_distance))


class Heads(nn.Module):
    """The projections into heads and back.

    >>> heads = Heads(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> heads.split(torch.randn(1, 5, 32)).shape
    torch.Size([3, 1, 2, 5, 16])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_size
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.width, 3 * inner, bias=config.bias)
        self.out = nn.Linear(inner, config.width, bias=config.bias)
        nn.init.normal_(self.qkv.weight, std=config.width**-0.5)
        nn.init.normal_(self.out.weight, std=(inner * 2 * config.num_layers) ** -0.5)
        for linear in (self.qkv, self.out):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def split(self, x: Float[Tensor, "B L width"]) -> Float[Tensor, "3 B H L head"]:
        """Queries, keys and values."""
        return rearrange(self.qkv(x), "b l (n h d) -> n b h l d", n=3, h=self.num_heads)

    def join(self, y: Float[Tensor, "B H L head"]) -> Float[Tensor, "B L width"]:
        return self.out(rearrange(y, "b h l d -> b l (h d)"))


def attend(
    q: Float[Tensor, "B H Q head"],
    k: Float[Tensor, "B H K head"],
    v: Float[Tensor, "B H K head"],
    sight: Sight,
    *,
    by_distance: tuple[Float[Tensor, "B H Q head"], Float[Tensor, "H D head"]] | None = None,
) -> Float[Tensor, "B H Q head"]:
    """softmax((q·k + p·r) / √head) v over what is seen, by the way quickest for the case.

    Args:
        by_distance: queries p, and the projections r of the distances D - 1 to 0.
    """
    if sight.aligned and (by_distance is not None or q.device.type == "cpu"):
        return blockwise_attention(q, k, v, sight.blocks, by_distance=by_distance)
    mask = sight.mask
    if by_distance is not None:
        p, r = by_distance
        scores = pick(p @ r.transpose(-1, -2), sight.distances)
        mask = sight.penalty + scores / math.sqrt(q.shape[-1])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
