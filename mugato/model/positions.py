"""How positions and distances enter attention: rotations of pairs, or sinusoids of distances."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotary_angles(
    positions: Int[Tensor, "B L"], head_size: int, base: float = 10_000.0
) -> tuple[Float[Tensor, "B 1 L half"], Float[Tensor, "B 1 L half"]]:
    """Cosine and sine of each position's angles."""
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
    """(a, b) to (a cos - b sin, b cos + a sin), in whole rows: half a head is a slow loop."""
    x = x.contiguous()
    a, b = x.chunk(2, dim=-1)
    y = torch.cat([b, a], dim=-1).mul_(torch.cat([-sin, sin], dim=-1))
    return y.addcmul_(x, torch.cat([cos, cos], dim=-1))


def sinusoids(distances: Int[Tensor, " D"], width: int) -> Float[Tensor, "D width"]:
    """Sines, then cosines, of each distance at `width / 2` wavelengths from 2π to 10,000·2π."""
    frequencies = 10_000.0 ** (
        -torch.arange(0, width, 2, device=distances.device, dtype=torch.float32) / width
    )
    angles = distances[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def pick(
    by_distance: Float[Tensor, "B H Q D"], distances: Int[Tensor, "B 1 Q K"]
) -> Float[Tensor, "B H Q K"]:
    """Each pair's column, of distances D-1 .. 0; what is out of reach is masked by the caller."""
    reach = by_distance.shape[-1]
    columns = (reach - 1 - distances).clamp(0, reach - 1)
    return by_distance.gather(-1, columns.expand(-1, by_distance.shape[1], -1, -1))
