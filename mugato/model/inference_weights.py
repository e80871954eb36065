"""A sequence model's weights as they are quickest to act with: in bf16, stored once.

Autocast would cast every weight at every step, and on processors the matrix units want the weights
in an order of their own, into which each product would bring them anew. Norms and matrices are
stored in bf16; what has to be exact (a recurrence's gates and memory, the projection of distances)
stays in fp32, and so do the embedding and the head, which are no part of the sequence model.
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mugato.model.attention import Heads
from mugato.model.huggingface import HuggingFaceModel
from mugato.model.sequence_model import SequenceModel
from mugato.model.transformer import FeedForward


class PackedLinear(nn.Module):
    """A linear layer whose weights lie in the order that the processor's library multiplies them.

    >>> dtype = torch.bfloat16 if can_pack() else torch.float32
    >>> linear, x = nn.Linear(64, 32, dtype=dtype), torch.randn(3, 64, dtype=dtype)
    >>> with torch.inference_mode():
    ...     torch.allclose(PackedLinear(linear)(x), linear(x), atol=0.05)
    True
    """

    # Products of these many rows decide the order; any other number is right too.
    ROWS = 32

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # No buffer: an opaque tensor can be neither saved nor moved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), self.ROWS)
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*B in"]) -> Float[Tensor, "*B out"]:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self.bias, "none", [], "")


def can_pack() -> bool:
    """Whether this build of PyTorch, on this processor, can reorder weights of bf16."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def store(model: SequenceModel, dtype: torch.dtype) -> SequenceModel:
    """A copy of a sequence model to act with: it takes and gives vectors of `dtype`."""
    with torch.no_grad():
        stored = copy.deepcopy(model).eval().requires_grad_(False)
        if isinstance(stored, HuggingFaceModel):
            return stored.to(dtype)
        for module in list(stored.modules()):
            if isinstance(module, (Heads, FeedForward, nn.LayerNorm)):
                module.to(dtype)
            if isinstance(module, (Heads, FeedForward)):
                _pack(module)
    return stored


def _pack(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear) and child.weight.device.type == "cpu" and can_pack():
            packed: Any = PackedLinear(child)
            setattr(module, name, packed)


def thin_product(
    device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "rows in"], nn.Module]:
    """A product as acting has them, for a stopwatch: few rows, weights as `store` keeps them."""
    linear = nn.Linear(1024, 2048, bias=False, device=device, dtype=dtype)
    x = torch.ones(24, 1024, device=device, dtype=dtype)
    if dtype == torch.bfloat16 and device.type == "cpu" and can_pack():
        return x, PackedLinear(linear)
    return x, linear
