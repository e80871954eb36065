"""The sequence models that `GatoConfig.sequence_model` may name."""

from collections.abc import Callable

from mugato.model.config import HUGGING_FACE, GatoConfig
from mugato.model.huggingface import HuggingFaceModel
from mugato.model.recurrent import Recurrent
from mugato.model.sequence_model import SequenceModel
from mugato.model.transformer import Transformer

SEQUENCE_MODELS: dict[str, Callable[[GatoConfig], SequenceModel]] = {
    "rotary": Transformer,
    "transformer-xl": Transformer,
    "recurrent": Recurrent,
}


def build_sequence_model(config: GatoConfig) -> SequenceModel:
    """Make the configured model.

    Raises:
        ValueError: for an unknown name, listing those there are.
    """
    if config.sequence_model.startswith(HUGGING_FACE):
        return HuggingFaceModel(config)
    if config.sequence_model not in SEQUENCE_MODELS:
        raise ValueError(
            f"sequence_model {config.sequence_model!r} is not one of {sorted(SEQUENCE_MODELS)}, "
            f"nor {HUGGING_FACE}MODEL_TYPE (gpt2, llama, mamba, ...) or {HUGGING_FACE}FOLDER"
        )
    return SEQUENCE_MODELS[config.sequence_model](config)
