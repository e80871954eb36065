"""Cross-entropy of the next token, on text targets and actions only (Reed et al. 2022, §2.3).

    loss = (sum over targets + observation_weight · sum over observation ids) / number of targets

The number of targets is that of the whole step, over all processes: the trainer divides by it.
Logits are computed only where the loss mask is set (on control data one token in 25), and what is
kept of them for the backward pass is their gradient, in their own dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mugato.tokens.batch import Targets

# Rows of logits that are worked on at once: as many as a processor's cache holds. A GPU wants many.
CHUNK_ROWS = {"cpu": 256, "cuda": 8192}
# Rows are filled up to a multiple of this: each new shape costs the matrix library a compilation.
FILL_ROWS = 64


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

    def sum(self, weights: Float[Tensor, " sources"] | None = None) -> Float[Tensor, ""]:
        """Add up all that is to be minimised; the trainer divides by the step's targets.

        Args:
            weights: how much a target of each source counts; 1 if not given.
        """
        values = self.values if weights is None else weights[self.sources] * self.values
        return values.sum() + self.observations

    def mean(self) -> Float[Tensor, ""]:
        """Return the loss of this batch alone, in nats a target."""
        return self.sum() / len(self.values)


def target_losses(
    output: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "B L width"],
    table: Float[Tensor, "vocab width"],
    targets: Targets,
    config: LossConfig = LossConfig(),
) -> TargetLosses:
    """Score each target that counts against the whole vocabulary, through the tied table.

    Args:
        output: what lies between the last hidden states and the table; it sees scored ones alone.
    """
    rows: Any = targets.places
    if config.observation_weight:
        is_target = targets.loss_mask.flatten()
        rows = torch.nonzero(is_target | targets.observation_mask.flatten()).squeeze(1)
    sources = targets.sources.flatten()[rows]
    losses = linear_cross_entropy(
        output(hidden.flatten(0, 1)[rows]),
        table,
        targets.ids.flatten()[rows],
        label_smoothing=config.label_smoothing,
    )
    if not config.observation_weight:
        return TargetLosses(values=losses, sources=sources, observations=losses.new_zeros(()))
    kept = is_target[rows]
    return TargetLosses(
        values=losses[kept],
        sources=sources[kept],
        observations=config.observation_weight * losses[~kept].sum(),
    )


def linear_cross_entropy(
    x: Float[Tensor, "N width"],
    table: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " N"]:
    """Compute `F.cross_entropy(x @ table.T, targets, reduction="none", ...)` in chunks of rows.

    Under autocast x, the table and the logits have its dtype; losses, in nats, are always fp32.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, table = x.to(dtype), table.to(dtype)
    filling = -len(x) % FILL_ROWS
    losses = _LinearCrossEntropy.apply(
        F.pad(x, (0, 0, 0, filling)), table, F.pad(targets, (0, filling)), label_smoothing
    )
    return losses[: len(x)].clone()  # no view: FSDP could not hook into the backward pass


class _LinearCrossEntropy(torch.autograd.Function):
    """d loss / d logits = (e - sum · one-hot) / sum, where e = exp(logits - largest).

    The long rows stay undivided: 1 / sum goes, with the upstream gradients, into the rows of x.
    PyTorch's own softmax takes three times as long in bf16.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        losses, sums = torch.empty(2, len(x), device=x.device)
        grad = torch.empty(len(x), len(table), dtype=x.dtype, device=x.device)
        chunk = CHUNK_ROWS.get(x.device.type, CHUNK_ROWS["cpu"])
        for start in range(0, len(x), chunk):
            at = slice(start, start + chunk)
            torch.mm(x[at], table.T, out=grad[at])
            losses[at], sums[at] = _score(grad[at], targets[at], smoothing)
        ctx.save_for_backward(x, table, grad, sums)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, table, grad, sums = ctx.saved_tensors
        weights = (upstream[0] / sums)[:, None].to(x.dtype)
        return weights * (grad @ table), grad.T @ (weights * x), None, None


def _score(
    logits: Float[Tensor, "N vocab"], targets: Int[Tensor, " N"], smoothing: float
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return losses and sums; `logits` turn into their gradient, yet to be divided by those.

    The target is kept out of the sum until both are fp32: of a target that is all but certain,
    loss and gradient are what the others sum to, which bf16 would round away beside its 1.
    """
    rows = torch.arange(len(logits), device=logits.device)
    largest = logits.amax(1, keepdim=True)
    chosen = logits[rows, targets].float()
    mean = logits.mean(1, dtype=torch.float32) if smoothing else 0.0
    gap = chosen - largest.squeeze(1).float()  # of the target to the largest: 0 or below
    logits.sub_(largest).exp_()
    logits[rows, targets] = 0
    others = logits.sum(1).float()
    sums = others + gap.exp()
    if smoothing:
        share = smoothing / logits.shape[1]
        logits -= (share * sums)[:, None].to(logits.dtype)
        logits[rows, targets] = ((smoothing - share) * sums - others).to(logits.dtype)
    else:
        logits[rows, targets] = -others.to(logits.dtype)
    smoothed = smoothing * (chosen - mean)
    return torch.log1p(others + torch.expm1(gap)) - gap + smoothed, sums
