"""Choosing one id among the legal ones: an illegal action cannot be produced."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mugato.agent import VANISHING, Sampling


def sample(
    logits: Float[Tensor, "B ids"],
    sampling: Sampling,
    generators: Sequence[torch.Generator | None] = (),
    values: Float[Tensor, " ids"] | None = None,
) -> Int[Tensor, " B"]:
    """Choose one column of each row; each row draws from its own generator, unless greedy.

    What a row gets depends on nothing but itself, however many are decoded together. A row that is
    over has no generator, and what it gets does not matter.

    Args:
        values: of the columns, ascending, of which a mean is one; their numbers if not given.

    Raises:
        ValueError: if there is not one generator (or None) for each row, or logits are not finite.

    >>> sample(torch.tensor([[0.0, 2.0, 1.0]]), Sampling(temperature=0.0))
    tensor([1])
    """
    # One number tells of all: NaN and infinity go through maximum and sum. An id may be ruled out.
    if not math.isfinite(float(logits.amax(dim=-1).sum())):
        raise ValueError("the model's logits are not finite (NaN or infinite)")
    if sampling.temperature < VANISHING:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        probabilities = _nucleus(probabilities, sampling.top_p)
    if sampling.continuous == "mean":
        return _nearest_to_mean(probabilities, values)
    cumulative = probabilities.cumsum(-1)
    height = cumulative[:, -1:]
    if sampling.continuous == "median":
        height = 0.5 * height
    else:
        height = _drawn(generators, len(logits)).to(height.device) * height
    # The first id whose share reaches above the height drawn; an id without a share never does.
    chosen = torch.searchsorted(cumulative, height, right=True).squeeze(1)
    return chosen.clamp(max=logits.shape[-1] - 1)


def _nearest_to_mean(
    probabilities: Float[Tensor, "B ids"], values: Float[Tensor, " ids"] | None
) -> Int[Tensor, " B"]:
    if values is None:
        values = torch.arange(probabilities.shape[-1], dtype=torch.float32)
    values = values.to(probabilities.device)
    mean = (probabilities * values).sum(-1) / probabilities.sum(-1)
    return torch.bucketize(mean, (values[1:] + values[:-1]) / 2)


def _nucleus(probabilities: Float[Tensor, "B ids"], top_p: float) -> Float[Tensor, "B ids"]:
    """Keep an id if those before it do not fill `top_p` yet: the likeliest one always stays."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    kept = ordered.cumsum(-1) - ordered < top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * kept)


def _drawn(generators: Sequence[torch.Generator | None], num_rows: int) -> Float[Tensor, "B 1"]:
    if len(generators) != num_rows:
        raise ValueError(f"{num_rows} rows to sample, but {len(generators)} generators")
    drawn = [torch.rand(1, generator=g) if g else torch.zeros(1) for g in generators]
    return torch.cat(drawn)[:, None]


def row_generator(seed: int, row: int = 0) -> torch.Generator:
    """Return what a row draws from: row 1 of one seed is not row 0 of the next.

    On the processor, so that a seed means the same on every device.
    """
    if row:
        seed = int(np.random.SeedSequence([seed, row]).generate_state(1)[0])
    return torch.Generator().manual_seed(seed)
