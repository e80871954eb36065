"""Averaged weights: what acts is smoother than what learns (not in the paper)."""

import copy

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The mean of a model's weights over about the last `share` of its steps.

    An exponential moving average whose horizon grows with the run (Karras et al. 2024, §3.1): a run
    stopped at any time has forgotten how it began, and no horizon has to be chosen for its length.

    Attributes:
        model: the same model with averaged weights.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._share = share

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after so many steps, from 1 on."""
        newest = min(1.0, 1 / (self._share * step))
        averaged: list[Tensor] = list(self.model.parameters())
        now: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averaged, now, newest)
