"""Masked attention over q, k and v, by the kernel that is quickest for the case.

On CPUs the backward of the fused kernel is slow at short lengths, and a plain product of matrices
wins; on GPUs the fused one always does.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

# Longest row at which the plain product trains faster on CPUs.
PLAIN_LENGTH = 512


def attend(
    q: Float[Tensor, "B H Q head"],
    k: Float[Tensor, "B H K head"],
    v: Float[Tensor, "B H K head"],
    mask: Bool[Tensor, "B 1 Q K"],
) -> Float[Tensor, "B H Q head"]:
    """Scaled dot-product attention; `mask` is True where a query may look."""
    if q.device.type == "cpu" and k.shape[-2] <= PLAIN_LENGTH:
        return _plain(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)
    # -30000 is finite in bf16: rows of padding, which see nothing, get no NaN.
    scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -30000.0)
    return torch.softmax(scores, dim=-1, dtype=scores.dtype) @ v
