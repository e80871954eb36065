"""Cross-entropy of the next token, on text targets and actions only (Reed et al. 2022, §2.3).

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
class TargetLosses:
    """The loss of each target of a batch; `.mean()` is all that a simple loop needs.

    Attributes:
        values: (N,): cross-entropy in nats.
        sources: (N,): the data source that each target came from.
    """

    values: Float[Tensor, " N"]
    sources: Int[Tensor, " N"]

    def mean(self) -> Float[Tensor, ""]:
        """Mean over the targets of this batch alone; the trainer divides by the global count."""
        return self.values.mean()


def target_losses(
    hidden: Float[Tensor, "B L width"], table: Float[Tensor, "vocab width"], batch: Batch
) -> TargetLosses:
    """Score each target that counts against the whole vocabulary, through the tied table."""
    rows = torch.nonzero(batch.loss_mask.flatten()).squeeze(1)
    values = linear_cross_entropy(hidden.flatten(0, 1)[rows], table, batch.targets.flatten()[rows])
    return TargetLosses(values=values, sources=batch.sources.flatten()[rows])


def linear_cross_entropy(
    x: Float[Tensor, "N width"], table: Float[Tensor, "vocab width"], targets: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """`cross_entropy(x @ table.T, targets, reduction="none")` in chunks of rows."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, table = x.to(dtype), table.to(dtype)
    filling = -len(x) % CHUNK_ROWS
    losses = _LinearCrossEntropy.apply(
        F.pad(x, (0, 0, 0, filling)), table, F.pad(targets, (0, filling))
    )
    return losses[: len(x)]


class _LinearCrossEntropy(torch.autograd.Function):
    """Keeps only the log of each row's sum; the backward pass computes the logits once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        losses = torch.empty(len(x), device=x.device)
        log_sums = torch.empty(len(x), device=x.device)
        for at in _chunks(len(x)):
            logits = F.linear(x[at], table).float()
            log_sums[at] = torch.logsumexp(logits, dim=1)
            losses[at] = log_sums[at] - logits.gather(1, targets[at, None]).squeeze(1)
        ctx.save_for_backward(x, table, targets, log_sums)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x, table, targets, log_sums = ctx.saved_tensors
        weights = upstream[0][:, None]
        x_grad, table_grad = torch.empty_like(x), torch.zeros_like(table, dtype=torch.float32)
        for at in _chunks(len(x)):
            # d loss / d logits = softmax - one-hot, times the upstream gradient of the row.
            grad = F.linear(x[at], table).float().sub_(log_sums[at, None]).exp_().mul_(weights[at])
            grad.scatter_add_(1, targets[at, None], -weights[at])
            grad = grad.to(x.dtype)
            x_grad[at] = grad @ table
            table_grad += grad.T @ x[at]
        return x_grad, table_grad.to(table.dtype), None


def _chunks(num_rows: int) -> list[slice]:
    return [slice(i, i + CHUNK_ROWS) for i in range(0, num_rows, CHUNK_ROWS)]
