"""AdamW and its schedule (Reed et al. 2022, App. D)."""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay (App. D).

    Attributes:
        lr: highest learning rate.
        warmup_steps: steps from `start_lr` to `lr`.
        final_fraction: the cosine ends at this share of `lr`.
        max_norm: gradients are clipped to this norm.
    """

    lr: float = 1e-4
    start_lr: float = 1e-7
    warmup_steps: int = 15_000
    final_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, not on biases and norms."""
    named = list(model.named_parameters())
    matrices = {name for name, p in named if p.ndim >= 2 and not name.endswith("bias")}
    groups = [
        {"params": [p for n, p in named if n in matrices], "weight_decay": config.weight_decay},
        {"params": [p for n, p in named if n not in matrices], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def learning_rate(step: int, progress: float, config: OptimizerConfig) -> float:
    """Linear warm-up by steps, then a cosine in the run's `progress` (0 to 1).

    >>> config = OptimizerConfig(lr=1.0, start_lr=0.0, warmup_steps=10)
    >>> learning_rate(0, 0.0, config), learning_rate(5, 0.0, config)
    (0.1, 0.6)
    >>> round(learning_rate(100, 0.5, config), 3), round(learning_rate(200, 1.0, config), 3)
    (0.55, 0.1)
    """
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    decayed = config.lr * (config.final_fraction + (1 - config.final_fraction) * cosine)
    if step >= config.warmup_steps:
        return decayed
    warmed = config.start_lr + (config.lr - config.start_lr) * (step + 1) / config.warmup_steps
    return min(warmed, decayed)
