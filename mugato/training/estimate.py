"""What a run would take, worked out without doing it: weights, arithmetic, memory, time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.training.config import TrainConfig
from mugato.training.sharding import repeated

# Dense bf16 arithmetic of one H100 or H200 in a second, and the share of it that a step reaches.
PEAK_FLOPS, REACHED = 989e12, 0.35
# Bytes that a layer keeps of each token for the backward pass, for each element of its width, in
# bf16 (Korthikanti et al. 2022, §4.1); only its input where activations are computed again.
KEPT, KEPT_INPUT = 34, 2


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number of GPUs.

    Attributes:
        devices, shards: how many there are, and over how many each weight is split.
        weights_gib: weights, gradients and moments in fp32, of one GPU.
        gathered_gib: what it holds of others' while it computes, at most.
        activations_gib: of the rows of one microbatch.
        hours: until the budget is used up; None where it is one of time.
    """

    devices: int
    shards: int
    weights_gib: float
    gathered_gib: float
    activations_gib: float
    hours: float | None

    @property
    def memory_gib(self) -> float:
        """All that one GPU has to hold."""
        return self.weights_gib + self.gathered_gib + self.activations_gib


def fresh_shapes(config: GatoConfig) -> Gato:
    """Make a model of shapes alone, of any size at once."""
    with torch.device("meta"):
        return Gato(config)


def flops_per_token(model: Gato, *, targets: float = 1.0) -> float:
    """Count a training step's operations for each token: 6 for each weight that multiplies.

    Args:
        targets: share of the tokens that are scored against the whole vocabulary.
    """
    config, multiplying = model.config, multiplying_weights(model.sequence_model)
    head = targets * model.embedding.table.weight.numel()
    attention = config.num_layers * config.num_heads * config.head_size * config.context_length
    return 6.0 * (multiplying + head + attention)


def multiplying_weights(module: nn.Module) -> int:
    """Count the weights of a module's matrices, whoever's layers they are in, but of no table."""
    weights: list[Any] = [
        getattr(part, "weight", None)
        for part in module.modules()
        if not isinstance(part, nn.Embedding)
    ]
    return sum(w.numel() for w in weights if w is not None and w.ndim == 2)


def estimates(
    config: TrainConfig, devices: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> tuple[Gato, list[Estimate]]:
    """Estimate a configuration on several numbers of GPUs.

    Returns:
        The model's shapes, and what each number takes to which microbatches and shards can be
        dealt out.
    """
    model = fresh_shapes(config.model)
    found = []
    for count in devices:
        if config.microbatches % count == 0 and count % config.shards == 0:
            found.append(_estimate(config, model, count, config.shards))
    return model, found


def _estimate(config: TrainConfig, model: Gato, devices: int, shards: int) -> Estimate:
    c, num = config.model, model.num_parameters
    block = max((sum(p.numel() for p in m.parameters()) for m in repeated(model)), default=0)
    outside = num - sum(p.numel() for p in model.sequence_model.parameters())
    tokens = config.batch_rows // config.microbatches * c.context_length
    kept = KEPT_INPUT if config.checkpoint_activations else KEPT
    logits = 2 * tokens * c.vocab.size  # every token a target, at worst
    activations = kept * c.width * tokens * c.num_layers + logits
    hours = None
    if (steps := config.planned_steps) is not None:
        flops = steps * config.batch_rows * c.context_length * flops_per_token(model)
        hours = flops / (devices * REACHED * PEAK_FLOPS) / 3600
    gathered = 4 * 2 * (outside + 2 * block) if shards > 1 else 0
    return Estimate(
        devices=devices,
        shards=shards,
        weights_gib=16 * num / shards / 2**30,
        gathered_gib=gathered / 2**30,
        activations_gib=activations / 2**30,
        hours=hours,
    )
