"""Choosing one id among the legal ones: an illegal action cannot be produced."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How ids are chosen: by default as often as the agent was taught to (§2.5).

    Attributes:
        temperature: logits are divided by it; 0, or next to it, takes the likeliest id. Of a
            continuous action the likeliest bin is a poor choice: neighboring bins share their
            probability, and the bin at the bound, which has many values to itself, wins.
        top_p: sample among the likeliest ids that together hold this much probability.
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be a number from 0 on, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")


# Logits divided by less may overflow.
VANISHING = 1e-6
GREEDY = Sampling(temperature=0.0)


def sample(
    logits: Float[Tensor, "B ids"],
    sampling: Sampling,
    generators: Sequence[torch.Generator | None] = (),
) -> Int[Tensor, " B"]:
    """Choose one column of each row; each row draws from its own generator, unless greedy.

    What a row gets depends on nothing but itself, however many are decoded together. A row that is
    over has no generator, and what it gets does not matter.

    Raises:
        ValueError: if there is not one generator (or None) for each row, or logits are not finite.

    >>> sample(torch.tensor([[0.0, 2.0, 1.0]]), GREEDY)
    tensor([1])
    """
    # One number tells of all: NaN and infinity go through maximum and sum. An id may be ruled out.
    if not math.isfinite(float(logits.amax(dim=-1).sum())):
        raise ValueError("the model's logits are not finite (NaN or infinite)")
    if sampling.temperature < VANISHING:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        # Keep an id if those before it do not fill top_p yet: the likeliest one always stays.
        kept = ordered.cumsum(-1) - ordered < sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered * kept)
    if len(generators) != len(logits):
        raise ValueError(f"{len(logits)} rows to sample, but {len(generators)} generators")
    cumulative = probabilities.cumsum(-1)
    drawn = [torch.rand(1, generator=g) if g else torch.zeros(1) for g in generators]
    height = torch.cat(drawn)[:, None].to(cumulative.device) * cumulative[:, -1:]
    # The first id whose share reaches above the height drawn; an id without a share never does.
    chosen = torch.searchsorted(cumulative, height, right=True).squeeze(1)
    return chosen.clamp(max=logits.shape[-1] - 1)


def row_generator(seed: int, row: int = 0) -> torch.Generator:
    """Return what a row draws from: row 1 of one seed is not row 0 of the next.

    On the processor, so that a seed means the same on every device.
    """
    if row:
        seed = int(np.random.SeedSequence([seed, row]).generate_state(1)[0])
    return torch.Generator().manual_seed(seed)
