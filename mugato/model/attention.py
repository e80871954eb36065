"""Attention over what a token may see: rotary (our presets) or relative (the paper's, App. C.1).

Both keep their keys as they are where positions do not change them, so that one ring of keys and
values serves both; what differs is how the distance between two tokens enters the score. What may
be seen is `attention_mask.py`'s; `kv_cache.py` reads the past of running sequences.
"""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model.attention_mask import AttentionMask, pick
from mugato.model.blockwise_attention import blockwise_attention
from mugato.model.config import GatoConfig
from mugato.model.kv_cache import LayerKVCache


class RotaryAttention(nn.Module):
    """Multi-head attention; queries and keys are turned by their positions (Su et al. 2021).

    >>> attention = RotaryAttention(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> positions = torch.arange(5)[None]
    >>> mask = AttentionMask.of_rows(positions, torch.ones_like(positions), 1024, torch.float32)
    >>> attention(torch.randn(1, 5, 32), mask, attention.encode(mask)).shape
    torch.Size([1, 5, 32])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.heads = Heads(config)
        self.head_size = config.head_size

    def encode(self, mask: AttentionMask) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of the queries' angles, the same for every layer."""
        return rotary_angles(mask.positions, self.head_size)

    def forward(
        self,
        x: Float[Tensor, "B Q width"],
        mask: AttentionMask,
        encoding: tuple[Tensor, Tensor],
        cache: LayerKVCache | None = None,
    ) -> Float[Tensor, "B Q width"]:
        qkv = self.heads.split(x)
        (q, k), v = rotate(qkv[:2], encoding), qkv[2].contiguous()
        if cache is not None:
            return self.heads.join(cache.attend(q, k, v, mask))
        return self.heads.join(attend(q, k, v, mask))


class RelativeAttention(nn.Module):
    """Transformer-XL's attention: content and position terms (Dai et al. 2019, §3.3).

    score(i, j) = (q_i + u)·k_j + (q_i + v)·W_r R_{i-j}, over √head_size: R are sinusoids of the
    distance, W_r this layer's own projection of them, u and v two learned vectors for each head.
    The published sizes of Gato imply it (App. C.1).

    >>> attention = RelativeAttention(GatoConfig(width=32, num_heads=2, head_size=16))
    >>> positions = torch.arange(5)[None]
    >>> mask = AttentionMask.of_rows(positions, torch.ones_like(positions), 1024, torch.float32)
    >>> attention(torch.randn(1, 5, 32), mask, attention.encode(mask)).shape
    torch.Size([1, 5, 32])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_size
        self.width = config.width
        self.num_heads = config.num_heads
        self.max_distance = config.context_length + config.memory_length
        self.heads = Heads(config)
        self.relative = nn.Linear(config.width, inner, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(config.num_heads, 1, config.head_size))
        self.position_bias = nn.Parameter(torch.zeros(config.num_heads, 1, config.head_size))
        nn.init.normal_(self.relative.weight, std=config.width**-0.5)

    def encode(self, mask: AttentionMask) -> Float[Tensor, "D width"]:
        """Return the encodings of all distances that occur, the same for every layer."""
        length = mask.positions.shape[1] + 1 if mask.aligned else self.max_distance
        return self.encode_distances(length)

    def encode_distances(self, length: int) -> Float[Tensor, "D width"]:
        """Return the sinusoidal encodings of the distances `length` - 1 to 0."""
        distances = torch.arange(length - 1, -1, -1, device=self.content_bias.device)
        return sinusoids(distances, self.width)

    def project(self, encoding: Float[Tensor, "D width"]) -> Float[Tensor, "H D head"]:
        """Project encoded distances for this layer (W_r R); a running state keeps the result."""
        return rearrange(self.relative(encoding), "d (h e) -> h d e", h=self.num_heads)

    def forward(
        self,
        x: Float[Tensor, "B Q width"],
        mask: AttentionMask,
        encoding: Float[Tensor, "D width"] | None,
        cache: LayerKVCache | None = None,
    ) -> Float[Tensor, "B Q width"]:
        """Attend; the distances come as `encoding`, or projected in the `cache`."""
        q, k, v = self.heads.split(x)
        p = q + self.position_bias.to(q.dtype)
        q = q + self.content_bias.to(q.dtype)
        if cache is not None:
            return self.heads.join(cache.attend(q, k, v, mask, by_distance=p))
        assert encoding is not None
        by_distance = (p, self.project(encoding))
        return self.heads.join(attend(q, k, v, mask, by_distance=by_distance))


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
        """Project to queries, keys and values of each head."""
        return rearrange(self.qkv(x), "b l (n h d) -> n b h l d", n=3, h=self.num_heads)

    def join(self, y: Float[Tensor, "B H L head"]) -> Float[Tensor, "B L width"]:
        return self.out(rearrange(y, "b h l d -> b l (h d)"))


def attend(
    q: Float[Tensor, "B H Q head"],
    k: Float[Tensor, "B H K head"],
    v: Float[Tensor, "B H K head"],
    mask: AttentionMask,
    *,
    by_distance: tuple[Float[Tensor, "B H Q head"], Float[Tensor, "H D head"]] | None = None,
) -> Float[Tensor, "B H Q head"]:
    """Compute softmax((q·k + p·r) / √head) v over what is seen, the quickest way for the case.

    Args:
        by_distance: queries p, and the projections r of the distances D - 1 to 0.
    """
    by_blocks = by_distance is not None or q.device.type == "cpu"
    if by_blocks and mask.aligned:  # in this order: a GPU would have to be waited for
        return blockwise_attention(q, k, v, mask.blocks, by_distance=by_distance)
    seen = mask.visible
    if by_distance is not None:
        p, r = by_distance
        scores = pick(p @ r.transpose(-1, -2), mask.distances)
        seen = mask.bias + scores / math.sqrt(q.shape[-1])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def rotary_angles(
    positions: Int[Tensor, "B L"], head_size: int, base: float = 10_000.0
) -> tuple[Float[Tensor, "B 1 L half"], Float[Tensor, "B 1 L half"]]:
    """Return cosine and sine of each position's angles (Su et al. 2021, §3.2)."""
    half = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() * base ** (-half / head_size)
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "*B H L head"], angles: tuple[Tensor, Tensor]
) -> Float[Tensor, "*B H L head"]:
    """Turn each pair (x_i, x_{i + head/2}) by its angle; the dtype of x is kept.

    >>> quarter = torch.tensor([torch.pi / 2])
    >>> rotate(torch.tensor([[[1.0, 0.0]]]), (quarter.cos(), quarter.sin())).round().abs()
    tensor([[[0., 1.]]])
    """
    cos, sin = (a.to(x.dtype) for a in angles)
    return _Rotate.apply(x, cos, sin)


class _Rotate(torch.autograd.Function):
    """Each pass writes contiguous rows with four kernels; autograd's own way takes fourteen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(upstream[0], cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (a, b) to (a cos - b sin, b cos + a sin), in whole rows: half a head is a slow loop."""
    x = x.contiguous()
    a, b = x.chunk(2, dim=-1)
    y = torch.cat([b, a], dim=-1).mul_(torch.cat([-sin, sin], dim=-1))
    return y.addcmul_(x, torch.cat([cos, cos], dim=-1))


def sinusoids(distances: Int[Tensor, " D"], width: int) -> Float[Tensor, "D width"]:
    """Return sines, then cosines, of `width / 2` wavelengths from 2π to 10,000·2π."""
    frequencies = 10_000.0 ** (
        -torch.arange(0, width, 2, device=distances.device, dtype=torch.float32) / width
    )
    angles = distances[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
