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


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Multiply in bf16, or not: for training and full passes. Acting stores its weights."""
    wanted = _wants_bf16(precision, bf16_is_faster, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def inference_weights(model: SequenceModel, precision: Precision) -> SequenceModel:
    """Return the sequence model to act with: itself in fp32, or a copy whose weights are bf16.

    The model keeps the copy as long as its own weights stay the same.

    In bf16 the residual stream and products are rounded to 8 bits, as under autocast in training;
    the embedding, the head and a recurrence's memory stay in fp32, so that logits are not rounded.
    """
    parameters = list(model.parameters())
    device = parameters[0].device
    if not _wants_bf16(precision, bf16_acts_faster, device):
        return model
    # Weights loaded under inference mode cannot change, and count no changes.
    marks = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters]
    if model.inference_copy is None or model.inference_copy[0] != marks:
        model.inference_copy = None  # a copy of the model shall not hold an older one
        model.inference_copy = (marks, to_inference_dtype(model, torch.bfloat16))
    return model.inference_copy[1]


def _wants_bf16(
    precision: Precision, is_faster: Callable[[torch.device], bool], device: torch.device
) -> bool:
    if precision not in get_args(Precision):
        raise ValueError(f"precision is one of {get_args(Precision)}, not {precision!r}")
    return is_faster(device) if precision == "auto" else precision == "bf16"


@cache
def bf16_is_faster(device: torch.device) -> bool:
    """Time a product of matrices in both; a few milliseconds, once per process."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()

    def product(dtype: torch.dtype) -> Callable[[], object]:
        a = torch.ones(1024, 256, device=device, dtype=dtype)
        b = torch.ones(256, 1024, device=device, dtype=dtype)
        return lambda: torch.mm(a, b)

    return _seconds(product(torch.bfloat16)) < 0.8 * _seconds(product(torch.float32))


@cache
def bf16_acts_faster(device: torch.device) -> bool:
    """Time the product of a few rows: there the bytes of the weights count, not the arithmetic."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()

    @torch.inference_mode()
    def product(dtype: torch.dtype) -> float:
        x, linear = benchmark_linear(device, dtype)
        return _seconds(lambda: linear(x))

    return product(torch.bfloat16) < 0.8 * product(torch.float32)


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


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


def to_inference_dtype(model: SequenceModel, dtype: torch.dtype) -> SequenceModel:
    """Copy a sequence model to act with: it takes and gives vectors of `dtype`."""
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


def benchmark_linear(
    device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "rows in"], nn.Module]:
    """Return a product as acting has them, to be timed: few rows, weights as they are stored."""
    linear = nn.Linear(1024, 2048, bias=False, device=device, dtype=dtype)
    x = torch.ones(24, 1024, device=device, dtype=dtype)
    if dtype == torch.bfloat16 and device.type == "cpu" and can_pack():
        return x, PackedLinear(linear)
    return x, linear
