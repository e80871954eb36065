"""Gato: embedding, a sequence model, and a head tied to the embedding (Reed et al. 2022, §2).

It knows a `ModelInput`, a `Batch` and a vocabulary, never an environment. To read on, in order:
`embedding.py`, `transformer.py`, `attention.py`, `loss.py`. To add a sequence model: one file that
keeps the contract of `sequence_model.py`, and one line in `SEQUENCE_MODELS`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model import serialization
from mugato.model.config import HUGGING_FACE, GatoConfig
from mugato.model.devices import find_device
from mugato.model.embedding import (
    DiscreteEmbedding,
    LocalPositionEncoding,
    PatchPositionEncoding,
    ResidualEmbedding,
)
from mugato.model.huggingface import HuggingFaceModel
from mugato.model.loss import LossConfig, TargetLosses, target_losses
from mugato.model.own_model import own_model
from mugato.model.recurrent import Recurrent
from mugato.model.sequence_model import SequenceModel
from mugato.model.transformer import Transformer
from mugato.system.typed_json import from_json
from mugato.tokens.batch import Batch, ModelInput
from mugato.tokens.padded import batch_of_tensors

SEQUENCE_MODELS: dict[str, Callable[[GatoConfig], SequenceModel]] = {
    "rotary": Transformer,
    "transformer-xl": Transformer,
    "recurrent": Recurrent,
}


class Gato(nn.Module):
    """The generalist agent's one set of weights: embedding, sequence model, tied head (§2.2).

    It takes a `Batch` to train and a `ModelInput` to act, or padded tensors for either
    (`tokens/padded.py`); between calls it remembers nothing.

    >>> from mugato.tokens.packing import pack
    >>> from mugato.tokens.sequence import sequence
    >>> from mugato.tokens.timesteps import text_timesteps
    >>> config = GatoConfig.micro()
    >>> model = Gato(config)
    >>> batch = pack([sequence(text_timesteps([5, 6, 7, 8]), config.vocab)], length=16)
    >>> model.hidden(batch.inputs)[0].shape
    torch.Size([1, 16, 256])
    >>> model(batch).values.shape  # the loss of each id that follows another
    torch.Size([3])
    """

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = DiscreteEmbedding(config.vocab, config.width)
        self.patch_embedding = ResidualEmbedding(
            patch_px=config.patch_px,
            channels=config.patch_width,
            reduced=config.patch_reduced,
            width=config.width,
            groups=config.patch_groups,
            num_blocks=config.num_residual_blocks,
        )
        self.patch_positions = PatchPositionEncoding(config.width, config.patch_levels)
        self.local_positions = LocalPositionEncoding(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.sequence_model = build_sequence_model(config)
        self.output = nn.Identity()
        if config.output_projection:
            self.output = nn.Linear(config.width, config.width, bias=False)
            nn.init.orthogonal_(self.output.weight)

    def forward(
        self, batch: Batch | Mapping[str, Tensor], loss: LossConfig = LossConfig()
    ) -> TargetLosses:
        """Score every target of the batch: the training pass (§2.3)."""
        if not isinstance(batch, Batch):
            batch = self.batch_of(batch)
        hidden, _ = self.hidden(batch.inputs)
        return target_losses(self.output, hidden, self.embedding.table.weight, batch.targets, loss)

    def embed(self, inputs: ModelInput) -> Float[Tensor, "B L width"]:
        """Turn all tokens into vectors, positions within the observation included.

        Under autocast they come in its dtype, and so the whole residual stream is kept in it: on
        CPUs, where memory is the limit, that makes a training step a third faster.
        """
        x = self.embedding(inputs.ids)
        if len(inputs.patches):
            x = self._with_patches(x, inputs)
        x = math.sqrt(self.config.width) * (x + self.local_positions(inputs.local_positions))
        x = self.dropout(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return x

    def _with_patches(
        self, x: Float[Tensor, "B L width"], inputs: ModelInput
    ) -> Float[Tensor, "B L width"]:
        """Put the patches into their places.

        Each distinct patch goes through the block once; positions are added per token. A GPU works
        them out for all tokens, since asking it how many patches there are would mean to wait.
        """
        is_patch = inputs.patch_index >= 0
        patches = self.patch_embedding(inputs.patches)
        if x.device.type == "cpu":
            known = patches[inputs.patch_index[is_patch]]
            known = known + self.patch_positions(inputs.intervals[is_patch])
            return x.masked_scatter(is_patch[..., None], known.to(x.dtype))
        known = F.embedding(inputs.patch_index.clamp(min=0), patches)
        known = known + self.patch_positions(inputs.intervals)
        return torch.where(is_patch[..., None], known.to(x.dtype), x)

    def hidden(
        self, inputs: ModelInput | Mapping[str, Tensor], state: Any = None
    ) -> tuple[Float[Tensor, "B L width"], Any]:
        """Return the last hidden states, and the sequence model's state after these tokens.

        With a `state` the input continues running sequences: its positions go on from the tokens
        read before. The given state is used up; go on with the one returned.
        """
        if not isinstance(inputs, ModelInput):
            inputs = self.batch_of(inputs).inputs
        return self.sequence_model(self.embed(inputs), inputs.positions, inputs.segments, state)

    def batch_of(self, tensors: Mapping[str, Tensor]) -> Batch:
        """Lay µGATO's padded tensors out for this model.

        Raises:
            ValueError: as `batch_of_tensors`, or patches of another size.
        """
        c = self.config
        batch = batch_of_tensors(tensors, c.vocab, num_levels=c.patch_levels)
        pixels, patches = c.patch_px**2 * 3, batch.inputs.patches
        if len(patches) and patches.shape[1] != pixels:
            raise ValueError(
                f"patches have {c.patch_px}x{c.patch_px}x3 = {pixels} channels, got "
                f"{patches.shape[1]}"
            )
        return batch.to(self.embedding.table.weight.device)

    def init_state(self, batch_size: int, max_length: int) -> Any:
        """Make the sequence model's state of `batch_size` rows that have read nothing.

        `max_length` bounds the tokens that are kept of each row, see `SequenceModel.init_state`.
        """
        return self.sequence_model.init_state(batch_size, max_length)

    def logits(self, hidden: Float[Tensor, "... width"], ids: range) -> Float[Tensor, "... ids"]:
        """Score some ids only: the head's other rows are never read."""
        return F.linear(self.output(hidden), self.embedding.table.weight[ids.start : ids.stop])

    @property
    def num_parameters(self) -> int:
        """The number of weights; the tied table counts once."""
        return sum(p.numel() for p in self.parameters())

    def save_pretrained(
        self, folder: str | Path, *, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Write `model.safetensors` and `config.json`; `extra` joins the config.

        Nothing is left half-written: files are written beside and renamed.
        """
        config = {"model": dataclasses.asdict(self.config), **(extra or {})}
        serialization.save_model(self, Path(folder), config)

    @staticmethod
    def from_pretrained(folder: str | Path, *, device: torch.device | str = "cpu") -> "Gato":
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: if the folder holds no checkpoint, or a corrupt or foreign one; or for a
                device that is not here.
        """
        device, folder = find_device(device), Path(folder)
        model = Gato(read_sizes(folder))
        serialization.load_weights(model, folder)
        return model.to(device).eval()


def read_sizes(folder: Path) -> GatoConfig:
    """Read a checkpoint's sizes, without its weights; raises as `Gato.from_pretrained`."""
    config = serialization.read_config(folder)["model"]
    return from_json(GatoConfig, config, f"{folder / serialization.CONFIG}: model")


def build_sequence_model(config: GatoConfig) -> SequenceModel:
    """Make the model that `config.sequence_model` names, with fresh weights.

    Raises:
        ValueError: for an unknown name, listing those there are, or a class of the user's own that
            cannot be found or does not keep the contract.
    """
    if config.sequence_model.startswith(HUGGING_FACE):
        return HuggingFaceModel(config)
    if ":" in config.sequence_model:
        return own_model(config)
    if config.sequence_model not in SEQUENCE_MODELS:
        raise ValueError(
            f"sequence_model {config.sequence_model!r} is not one of {sorted(SEQUENCE_MODELS)}, "
            f"nor {HUGGING_FACE}MODEL_TYPE (gpt2, llama, mamba, ...), {HUGGING_FACE}FOLDER or a "
            "class of your own (package.module:Class)"
        )
    return SEQUENCE_MODELS[config.sequence_model](config)
