"""Cross-entropy of the next token, on text targets and actions only (Reed et al. 2022, §2.3).

    loss = (sum over targets + observation_weight · sum over observation ids) / number of targets

The number of targets is that of the whole step, over all processes: the trainer divides by it.
Logits are computed only where the loss mask is set (on control data one token in 25), and what is
kept of them for the backward pass is their gradient, in their own dtype.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mugato.tokens.batch import Targets

# Rows of logits that exist at once.
CHUNK_ROWS = 256
# Rows are filled up to a multiple of this: each new shape costs the matrix library a compilation.
FILL_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the paper leaves out, off by default.

    Attributes:
        observation_weight: weight κ of predicting the ids in observations too (text, discrete and
            continuous values; never patches); JAT (Gallouédec et al. 2024) found 0.005 useful.
        label_smoothing: this share of each target's probability is spread over the vocabulary.
        continuous_spread: standard deviation, in bins, of the bell around a continuous target's
            bin that takes its place (HL-Gauss, Imani & White 2018); 0 for the bin alone.
    """

    observation_weight: float = 0.0
    label_smoothing: float = 0.0
    continuous_spread: float = 0.0

    def __post_init__(self) -> None:
        if self.observation_weight < 0:
            raise ValueError(
                f"observation_weight must not be negative, got {self.observation_weight}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if not 0 <= self.continuous_spread < math.inf:
            raise ValueError(
                f"continuous_spread must be a number from 0 on, got {self.continuous_spread}"
            )


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
    *,
    continuous: range = range(0),
) -> TargetLosses:
    """Score each target that counts against the whole vocabulary, through the tied table.

    Args:
        output: what lies between the last hidden states and the table; it sees scored ones alone.
        continuous: the ids of bins, over which `continuous_spread` spreads targets.
    """
    is_target = scored = targets.loss_mask.flatten()
    if config.observation_weight:
        scored = scored | targets.observation_mask.flatten()
    rows = torch.nonzero(scored).squeeze(1)
    ids = targets.ids.flatten()[rows]
    losses = linear_cross_entropy(
        output(hidden.flatten(0, 1)[rows]), table, ids,
        label_smoothing=config.label_smoothing,
        spread=Spread.of(ids, continuous, config.continuous_spread),
    )  # fmt: skip
    kept = is_target[rows]
    return TargetLosses(
        values=losses[kept],
        sources=targets.sources.flatten()[rows[kept]],
        observations=config.observation_weight * losses[~kept].sum(),
    )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How targets are spread over ids near them: what each gets more than "all for the target".

    Attributes:
        ids: (N, W): the target and its neighbors.
        more: (N, W): their probabilities, less 1 at the target; each row adds up to 0.
    """

    ids: Int[Tensor, "N W"]
    more: Float[Tensor, "N W"]

    @staticmethod
    def of(targets: Int[Tensor, " N"], bins: range, std: float) -> "Spread | None":
        """Lay a bell of `std` bins around the targets that are bins, cut off at the ends.

        >>> spread = Spread.of(torch.tensor([3, 10]), range(10, 20), 0.5)
        >>> spread.ids[1].tolist(), [round(x, 2) for x in spread.more[1].tolist()]
        ([10, 10, 10, 11, 12], [0.0, 0.0, -0.12, 0.12, 0.0])
        >>> spread.more[0].tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
        """
        if not (std and len(bins)):
            return None
        reach = math.ceil(3 * std)
        offsets = torch.arange(-reach, reach + 1, device=targets.device)
        ids = targets[:, None] + offsets
        bell = torch.exp(-0.5 * (offsets / std) ** 2) * ((ids >= bins.start) & (ids < bins.stop))
        is_bin = ((targets >= bins.start) & (targets < bins.stop))[:, None]
        more = bell / bell.sum(1, keepdim=True).clamp(min=1e-9) - (offsets == 0).float()
        return Spread(ids=ids.clamp(bins.start, bins.stop - 1), more=more.where(is_bin, 0.0))

    def __getitem__(self, at: slice) -> "Spread":
        return Spread(ids=self.ids[at], more=self.more[at])

    def filled(self, rows: int) -> "Spread":
        """Add rows that spread nothing."""
        return Spread(ids=F.pad(self.ids, (0, 0, 0, rows)), more=F.pad(self.more, (0, 0, 0, rows)))


def linear_cross_entropy(
    x: Float[Tensor, "N width"],
    table: Float[Tensor, "vocab width"],
    targets: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
    spread: Spread | None = None,
) -> Float[Tensor, " N"]:
    """Compute `F.cross_entropy(x @ table.T, targets, reduction="none", ...)` in chunks of rows.

    With a `spread`, of probabilities instead of targets. Under autocast x, the table and the logits
    have its dtype; losses, in nats, are always fp32.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, table = x.to(dtype), table.to(dtype)
    filling = -len(x) % FILL_ROWS
    x, targets = F.pad(x, (0, 0, 0, filling)), F.pad(targets, (0, filling))
    if spread is not None:
        spread = spread.filled(filling)
    losses = _LinearCrossEntropy.apply(x, table, targets, label_smoothing, spread)
    return losses[: len(losses) - filling]


class _LinearCrossEntropy(torch.autograd.Function):
    """d loss / d logits = (e - sum · wanted) / sum, where e = exp(logits - largest).

    The long rows stay undivided: 1 / sum goes, with the upstream gradients, into the rows of x.
    PyTorch's own softmax takes three times as long in bf16.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, targets: Tensor, smoothing: float,
        spread: Spread | None,
    ) -> Tensor:  # fmt: skip
        losses, sums = torch.empty(2, len(x), device=x.device)
        grad = torch.empty(len(x), len(table), dtype=x.dtype, device=x.device)
        for start in range(0, len(x), CHUNK_ROWS):
            at = slice(start, start + CHUNK_ROWS)
            torch.mm(x[at], table.T, out=grad[at])
            chunk = None if spread is None else spread[at]
            losses[at], sums[at] = _score(grad[at], targets[at], smoothing, chunk)
        ctx.save_for_backward(x, table, grad, sums)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, table, grad, sums = ctx.saved_tensors
        weights = (upstream[0] / sums)[:, None].to(x.dtype)
        return weights * (grad @ table), grad.T @ (weights * x), None, None, None


def _score(
    logits: Float[Tensor, "N vocab"],
    targets: Int[Tensor, " N"],
    smoothing: float,
    spread: Spread | None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Return losses and sums; `logits` turn into their gradient, yet to be divided by those.

    The target is kept out of the sum until both are fp32: of a target that is all but certain,
    loss and gradient are what the others sum to, which bf16 would round away beside its 1.
    """
    rows = torch.arange(len(logits), device=logits.device)
    largest = logits.amax(1, keepdim=True)
    chosen = logits[rows, targets].float()
    mean = logits.mean(1, dtype=torch.float32) if smoothing else 0.0
    near = 0.0 if spread is None else (spread.more * logits.gather(1, spread.ids).float()).sum(1)
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
    if spread is not None:
        more = (1 - smoothing) * sums[:, None] * spread.more
        logits.scatter_add_(1, spread.ids, -more.to(logits.dtype))
    elsewhere = smoothing * (chosen - mean) - (1 - smoothing) * near
    return torch.log1p(others + torch.expm1(gap)) - gap + elsewhere, sums
