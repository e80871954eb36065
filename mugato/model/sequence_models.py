"""The sequence models that `GatoConfig.sequence_model` may name."""

from collections.abc import Callable

from torch import nn

from mugato.model.config import GatoConfig
from mugato.model.transformer import Transformer

SEQUENCE_MODELS: dict[str, Callable[[GatoConfig], nn.Module]] = {
    "rotary": Transformer,
}


def build_sequence_model(config: GatoConfig) -> nn.Module:
    """Make the configured model.

    Raises:
        ValueError: for an unknown name, listing those there are.
    """
    if config.sequence_model not in SEQUENCE_MODELS:
        raise ValueError(
            f"sequence_model {config.sequence_model!r} is not one of {sorted(SEQUENCE_MODELS)}"
        )
    return SEQUENCE_MODELS[config.sequence_model](config)
