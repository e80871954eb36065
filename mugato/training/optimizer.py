"""The optimiser and its schedule: the paper's AdamW (Reed et al. 2022, App. D), or with Muon."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from mugato.model.gato import Gato
from mugato.training.distributed import DistributedContext
from mugato.training.muon import MuonAdamW, matrices_of


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay (App. D).

    Attributes:
        lr: highest learning rate.
        warmup_steps: steps from `start_lr` to `lr`.
        final_fraction: the cosine ends at this share of `lr`.
        max_norm: gradients are clipped to this norm.
        muon_lr_factor: update the sequence model's matrices by Muon, at so many times the rate;
            0 leaves them to AdamW, as the paper does.
        muon_momentum, muon_iterations: of Muon.
        average_share: the agent has the mean of the weights over the last so much of its training;
            0 gives it the weights of the last step.
    """

    lr: float = 1e-4
    start_lr: float = 1e-7
    warmup_steps: int = 15_000
    final_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0
    muon_lr_factor: float = 0.0
    muon_momentum: float = 0.95
    muon_iterations: int = 4
    average_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lr", "start_lr", "warmup_steps", "eps", "weight_decay", "muon_lr_factor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number from 0 on, got {getattr(self, name)}")
        for value in (*self.betas, self.muon_momentum):
            if not 0 <= value < 1:
                raise ValueError(f"betas and momentum must be in [0, 1), got {value}")
        if not (0 <= self.final_fraction <= 1 and self.max_norm > 0):
            raise ValueError(
                "final_fraction must be in [0, 1] and max_norm more than 0, got "
                f"{self.final_fraction} and {self.max_norm}"
            )
        if not 0 <= self.average_share < 1:
            raise ValueError(f"average_share must be in [0, 1), got {self.average_share}")
        if self.muon_iterations < 1:
            raise ValueError(f"muon_iterations must be at least 1, got {self.muon_iterations}")


def make_optimizer(
    model: Gato, config: OptimizerConfig, context: DistributedContext = DistributedContext()
) -> torch.optim.AdamW:
    """AdamW, and Muon if asked for; weight decay on matrices only, not on biases and norms."""
    blocks = matrices_of(model.sequence_model) if config.muon_lr_factor else {}
    taken = {id(p) for parameters in blocks.values() for p in parameters}
    rest = [
        (name, p) for name, p in model.named_parameters() if p.requires_grad and id(p) not in taken
    ]
    decayed = {name for name, p in rest if p.ndim >= 2 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = [
        {"params": [p for n, p in rest if n in decayed], "weight_decay": config.weight_decay},
        {"params": [p for n, p in rest if n not in decayed], "weight_decay": 0.0},
    ]
    options = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "fused": True}
    if not blocks:
        return torch.optim.AdamW(groups, **options)
    muon = {
        "muon": True, "weight_decay": config.weight_decay, "lr_factor": config.muon_lr_factor,
        "momentum": config.muon_momentum, "iterations": config.muon_iterations,
    }  # fmt: skip
    groups += [{**muon, "params": ps, "parts": n} for n, ps in blocks.items()]
    return MuonAdamW(groups, context, **options)


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
