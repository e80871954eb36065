"""bf16 where it is faster: autocast to train, weights stored anew to act.

Matrix units decide: some processors only emulate bf16. Autocast would cast every weight at every
step, and on processors the matrix units want the weights in an order of their own. So norms and
matrices are stored in bf16 once; what has to be exact (a recurrence's gates and memory, the
projection of distances) stays in fp32, and so do the embedding and the head, which do not belong to
the sequence model.
"""

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mugato.model.attention import Heads
from mugato.model.huggingface import HuggingFaceModel
from mugato.model.sequence_model import SequenceModel
from mugato.model.transformer import FeedForward

Precision = Literal["auto", "bf16", "fp32"]
Product = Callable[[torch.device, torch.dtype], Callable[[], Tensor]]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Multiply in bf16, or not: for training and full passes. Acting stores its weights.

    Raises:
        ValueError: for an unknown precision.
    """
    wanted = wants_bf16(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def inference_weights(model: SequenceModel, precision: Precision) -> SequenceModel:
    """Return the sequence model to act with: itself in fp32, or a copy whose weights are bf16.

    The model keeps the copy as long as its own weights stay the same.

    In bf16 the residual stream and products are rounded to 8 bits, as under autocast in training;
    the embedding, the head and a recurrence's memory stay in fp32, so that logits are not rounded.

    Raises:
        ValueError: for an unknown precision.
    """
    parameters = list(model.parameters())
    wanted = wants_bf16(precision, parameters[0].device, _product_of_a_few_rows)
    if not (wanted and model.acts_in_bf16):
        return model
    # Weights loaded under inference mode cannot change, and count no changes.
    marks = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters]
    if model.inference_copy is None or model.inference_copy[0] != marks:
        model.inference_copy = None  # a copy of the model shall not hold an older one
        model.inference_copy = (marks, to_inference_dtype(model, torch.bfloat16))
    return model.inference_copy[1]


def to_inference_dtype(model: SequenceModel, dtype: torch.dtype) -> SequenceModel:
    """Copy a sequence model to act with: it takes and gives vectors of `dtype`."""
    with torch.no_grad():
        copied = copy.deepcopy(model).eval().requires_grad_(False)
        if isinstance(copied, HuggingFaceModel):
            return copied.to(dtype)
        for module in list(copied.modules()):
            if isinstance(module, (Heads, FeedForward, nn.LayerNorm)):
                module.to(dtype)
            if isinstance(module, (Heads, FeedForward)):
                for name, linear in list(module.named_children()):
                    setattr(module, name, _packed(linear))
    return copied


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
    """Tell whether this build of PyTorch, on this processor, can reorder weights of bf16."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _packed(linear: Any) -> nn.Module:
    """Reorder a layer's weights where that can be done: in bf16 on some processors."""
    weight = linear.weight
    packable = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and can_pack()
    return PackedLinear(linear) if packable else linear


def wants_bf16(precision: Precision, device: torch.device, product: Product | None = None) -> bool:
    """Tell whether to multiply in bf16; by the stopwatch where that is left open.

    Args:
        product: what is timed; a product of matrices, as training has them, if not given.

    Raises:
        ValueError: for an unknown precision.
    """
    product = product or _product_of_matrices
    if precision not in get_args(Precision):
        raise ValueError(f"precision is one of {get_args(Precision)}, not {precision!r}")
    return bf16_is_faster(device, product) if precision == "auto" else precision == "bf16"


@cache
def bf16_is_faster(device: torch.device, product: Product) -> bool:
    """Time a product in bf16 and in fp32; a few milliseconds, once per process."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    if device.type != "cpu":  # whose clock runs apart from this one
        return False
    bf16, fp32 = (_seconds(product(device, dtype)) for dtype in (torch.bfloat16, torch.float32))
    return bf16 < 0.8 * fp32


@torch.inference_mode()
def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _product_of_matrices(device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Make a product as training has them."""
    a = torch.ones(1024, 256, device=device, dtype=dtype)
    b = torch.ones(256, 1024, device=device, dtype=dtype)
    return lambda: torch.mm(a, b)


def _product_of_a_few_rows(device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """Make one as acting has them: the bytes of the weights count there, not the arithmetic."""
    linear = _packed(nn.Linear(1024, 2048, bias=False, device=device, dtype=dtype))
    x = torch.ones(24, 1024, device=device, dtype=dtype)
    return lambda: linear(x)
