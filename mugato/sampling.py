"""Choosing one id among the legal ones: an illegal action cannot be produced."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How ids are chosen.

    Attributes:
        temperature: 0 takes the likeliest id; above, logits are divided by it.
        top_p: sample among the likeliest ids that together hold this much probability.
    """

    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")


def sample(
    logits: Float[Tensor, "B ids"], sampling: Sampling, generator: torch.Generator | None
) -> Int[Tensor, " B"]:
    """Choose one column of each row.

    >>> sample(torch.tensor([[0.0, 2.0, 1.0]]), Sampling(), None)
    tensor([1])
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        # Keep an id if those before it do not fill top_p yet: the likeliest one always stays.
        kept = ordered.cumsum(-1) - ordered < sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered * kept)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
