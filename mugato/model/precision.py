"""bf16 where it is faster. Matrix units decide: some processors only emulate it."""

import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal, get_args

import torch

from mugato.model.inference_weights import store, thin_product
from mugato.model.sequence_model import SequenceModel

Precision = Literal["auto", "bf16", "fp32"]

# Stored weights of the models that are acting, and what the weights were when they were stored.
_STORED: weakref.WeakKeyDictionary[SequenceModel, tuple[Any, SequenceModel]]
_STORED = weakref.WeakKeyDictionary()


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Mixed precision in bf16, or none; for training and full passes. Acting stores its weights."""
    wanted = _wants_bf16(precision, bf16_is_faster, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def acting_weights(model: SequenceModel, precision: Precision) -> SequenceModel:
    """The sequence model to act with: itself in fp32, or a copy that is stored in bf16.

    The copy is kept for as long as the model lives and its weights stay the same.

    In bf16 the residual stream and products are rounded to 8 bits, as under autocast in training;
    the embedding, the head and a recurrence's memory stay in fp32, so that logits are not rounded.
    """
    parameters = list(model.parameters())
    device = parameters[0].device
    if not _wants_bf16(precision, bf16_acts_faster, device):
        return model
    # Weights loaded under inference mode cannot change, and count no changes.
    marks = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters]
    made, stored = _STORED.get(model, (None, model))
    if made != marks:
        stored = store(model, torch.bfloat16)
        _STORED[model] = (marks, stored)
    return stored


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
    """The same for few rows: there the bytes of the weights count, not the arithmetic."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()

    @torch.inference_mode()
    def product(dtype: torch.dtype) -> float:
        x, linear = thin_product(device, dtype)
        return _seconds(lambda: linear(x))

    return product(torch.bfloat16) < 0.8 * product(torch.float32)


def _seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
