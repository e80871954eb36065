"""bf16 where it is faster. Matrix units decide: some processors only emulate it."""

import time
from contextlib import AbstractContextManager
from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Mixed precision in bf16, or none."""
    wanted = bf16_is_faster(device) if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


@cache
def bf16_is_faster(device: torch.device) -> bool:
    """Time a product of matrices in both; a few milliseconds, once per process."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return _product_seconds(device, torch.bfloat16) < 0.8 * _product_seconds(device, torch.float32)


def _product_seconds(device: torch.device, dtype: torch.dtype) -> float:
    a = torch.ones(1024, 256, device=device, dtype=dtype)
    b = torch.ones(256, 1024, device=device, dtype=dtype)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return min(times)
