"""Cross-entropy of the next token, on text targets and actions only (Reed et al. 2022, §2.3).

    loss = (sum over targets + observation_weight · sum over observation ids) / number of targets

The number of targets is that of the whole step, over all processes: the trainer divides by it.
Logits are computed only where the loss mask is set (on control data one token in 25), and a few
hundred rows at a time: the whole table of targets x vocabulary never exists.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mugato.batch import Batch

# Rows of logits that exist at once: 256 x 33,000 fp32 values stay within a processor's cache. The
# last chunk is filled up, because every new shape costs a compilation in the matrix library.
CHUNK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the paper leaves out, off by default.

    Attributes:
        observation_weight: weight κ of predicting the ids in observations too (text, discrete and
            continuous values; never patches); JAT (Gallouédec et al. 2024) found 0.005 useful.
        label_smoothing: this share of each target's probability is spread over the vocabulary.
    """

    observation_weight: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.observation_weight < 0:
            raise ValueError(
                f"observation_weight must not be negative, got {self.observation_weight}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")


@dataclass(frozen=True, kw_only=True)
class TargetLosses:
    """The loss of each target of a batch; `.mean()` is all that a simple loop needs.

    Attributes:
        values: (N,): cross-entropy in nats.
        sources: (N,): the data source that each target came from.
        observations: weighted sum over the observation ids; 0 unless asked for.
    """

    values: Float[Tensor, " N"]
    sources: Int[Tensor, " N"]
    observations: Float[Tensor, ""]

    def sum(self) -> Float[Tensor, ""]:
        """All that is to be minimised; the trainer divides it by the global number of targets."""
        return self.values.sum() + self.observations

    def mean(self) -> Float[Tensor, ""]:
        """The loss of this batch alone."""
        return self.sum() / len(self.values)


def target_losses(
    hidden: Float[Tensor, "B L width"],
    table: Float[Tensor, "vocab width"],
    batch: Batch,
    config: LossConfig = LossConfig(),
) -> TargetLosses:
    """Score each target that counts against the whole vocabulary, through the tied table."""
    is_target = scored = batch.loss_mask.flatten()
    if config.observation_weight:
        scored = scored | batch.observation_mask.flatten()
    rows = torch.nonzero(scored).squeeze(1)
    losses = linear_cross_entropy(
        hidden.flatten(0, 1)[rows],
        table,
        batch.targets.flatten()[rows],
        label_smoothing=config.label_smoothing,
    )
    kept = is_target[rows]
    return TargetLosses(
        values=losses[kept],
        sources=batch.sources.flatten()[rows[kept]],
        observations=config.observation_weight * losses[~kept].sum(),
    )


def linear_cross_entropy(
    x: Float[Tensor, "N width"],
    table: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " N"]:
    """`F.cross_entropy(x @ table.T, targets, reduction="none", ...)` in chunks of rows."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, table = x.to(dtype), table.to(dtype)
    filling = -len(x) % CHUNK_ROWS
    losses = _LinearCrossEntropy.apply(
        F.pad(x, (0, 0, 0, filling)), table, F.pad(targets, (0, filling)), label_smoothing
    )
    return losses[: len(x)]


class _LinearCrossEntropy(torch.autograd.Function):
    """Keeps only the log of each row's sum; the backward pass computes the logits once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        losses = torch.empty(len(x), device=x.device)
        log_sums = torch.empty(len(x), device=x.device)
        for at in _chunks(len(x)):
            logits = F.linear(x[at], table).float()
            log_sums[at] = torch.logsumexp(logits, dim=1)
            chosen = logits.gather(1, targets[at, None]).squeeze(1)
            losses[at] = log_sums[at] - (1 - smoothing) * chosen
            if smoothing:
                losses[at] -= smoothing * logits.mean(1)
        ctx.save_for_backward(x, table, targets, log_sums)
        ctx.smoothing = smoothing
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, table, targets, log_sums = ctx.saved_tensors
        weights = upstream[0][:, None]
        x_grad, table_grad = torch.empty_like(x), torch.zeros_like(table, dtype=torch.float32)
        for at in _chunks(len(x)):
            # d loss / d logits = softmax - one-hot (smoothed), times the row's upstream gradient.
            grad = F.linear(x[at], table).float().sub_(log_sums[at, None]).exp_()
            if ctx.smoothing:
                grad -= ctx.smoothing / len(table)
            grad.mul_(weights[at])
            grad.scatter_add_(1, targets[at, None], -(1 - ctx.smoothing) * weights[at])
            grad = grad.to(x.dtype)
            x_grad[at] = grad @ table
            table_grad += grad.T @ x[at]
        return x_grad, table_grad.to(table.dtype), None, None


def _chunks(num_rows: int) -> list[slice]:
    return [slice(i, i + CHUNK_ROWS) for i in range(0, num_rows, CHUNK_ROWS)]
