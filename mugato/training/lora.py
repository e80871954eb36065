"""Low-rank adapters: fine-tuning of a few per cent of the weights (Hu et al. 2021).

What was learned before stays as it is; beside each matrix of the blocks two thin ones are learned,
whose product is added to it when the agent is written.
"""

import copy
from typing import Any

from mugato.model.gato import Gato
from mugato.system.optional import require

ADAPTED = ["qkv", "out", "up", "down"]


def add_adapters(model: Gato, rank: int) -> None:
    """Freeze a model, and put adapters of this rank beside the blocks' matrices, in place.

    They begin as nothing: what the model computes does not change.

    Raises:
        ValueError: for a sequence model without such matrices.
        ImportError: without `peft`.
    """
    peft = require("peft", extra="lora")
    names = {name.rpartition(".")[2] for name, _ in model.sequence_model.named_modules()}
    if not names.issuperset(ADAPTED):
        raise ValueError(
            f"adapters go beside {', '.join(ADAPTED)}, which a {model.config.sequence_model!r} "
            "sequence model does not have: train all of it (lora_rank=0)"
        )
    model.requires_grad_(False)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED)
    peft.inject_adapter_in_model(config, model.sequence_model)


def merged(model: Gato) -> Gato:
    """Return a copy without adapters that computes the same."""
    layer: Any = require("peft.tuners.lora", extra="lora").LoraLayer
    copied = copy.deepcopy(model)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, layer):
                adapted: Any = child
                adapted.merge()
                setattr(parent, name, adapted.get_base_layer())
    return copied.requires_grad_(True)
