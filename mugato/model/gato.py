"""Gato: embedding, a sequence model, and a head tied to the embedding (Reed et al. 2022, §2).

It knows a `Batch` and a vocabulary, never an environment.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.model import serialization as files
from mugato.model.config import GatoConfig
from mugato.model.embedding import (
    DiscreteEmbedding,
    LocalPositionEncoding,
    PatchPositionEncoding,
    ResidualEmbedding,
)
from mugato.model.loss import LossConfig, TargetLosses, target_losses
from mugato.model.registry import build_sequence_model
from mugato.tokens.batch import Batch


class Gato(nn.Module):
    """The generalist agent's one set of weights: embedding, sequence model, tied head (§2.2).

    >>> from mugato.tokens.batch import pack
    >>> from mugato.tokens.sequence import sequence
    >>> from mugato.tokens.timesteps import text_timesteps
    >>> config = GatoConfig.micro()
    >>> model = Gato(config)
    >>> batch = pack([sequence(text_timesteps([5, 6, 7, 8]), config.vocab)], length=16)
    >>> model.hidden(batch)[0].shape
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
        )
        self.patch_positions = PatchPositionEncoding(config.width)
        self.local_positions = LocalPositionEncoding(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.sequence_model = build_sequence_model(config)

    def forward(self, batch: Batch, loss: LossConfig = LossConfig()) -> TargetLosses:
        """The training pass: the loss of every target in the batch."""
        return target_losses(self.hidden(batch)[0], self.embedding.table.weight, batch, loss)

    def embed(self, batch: Batch) -> Float[Tensor, "B L width"]:
        """Vectors of all tokens, positions within the observation included.

        Under autocast they come in its dtype, and so the whole residual stream is kept in it: on
        CPUs, where memory is the limit, that makes a training step a third faster.
        """
        x = self.embedding(batch.ids)
        is_patch = batch.patch_index >= 0
        if len(batch.patches):
            # Each distinct patch goes through the block once; positions are added per token.
            patches = self.patch_embedding(batch.patches)[batch.patch_index[is_patch]]
            positions = self.patch_positions(batch.intervals[is_patch])
            x = x.masked_scatter(is_patch[..., None], (patches + positions).to(x.dtype))
        x = math.sqrt(self.config.width) * (x + self.local_positions(batch.local_positions))
        x = self.dropout(x)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return x

    def hidden(self, batch: Batch, state: Any = None) -> tuple[Float[Tensor, "B L width"], Any]:
        """Last hidden states, and the sequence model's state after these tokens.

        With a `state` the batch continues running episodes: `batch.positions` go on from the tokens
        read before. The given state is used up; go on with the one returned.
        """
        return self.sequence_model(self.embed(batch), batch.positions, batch.segments, state)

    def init_state(self, batch_size: int, max_length: int) -> Any:
        """An empty state of the sequence model."""
        return self.sequence_model.init_state(batch_size, max_length)

    def logits(self, hidden: Float[Tensor, "... width"], ids: range) -> Float[Tensor, "... ids"]:
        """Scores of some ids only: the head's other rows are never read."""
        return F.linear(hidden, self.embedding.table.weight[ids.start : ids.stop])

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def save_pretrained(
        self, folder: str | Path, *, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Write `model.safetensors` and `config.json`; `extra` joins the config.

        Nothing is left half-written: files are written beside and renamed.
        """
        files.save_model(self, Path(folder), {"model": files.config_to_json(self.config)}, extra)

    @staticmethod
    def from_pretrained(folder: str | Path, *, device: torch.device | str = "cpu") -> "Gato":
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: if the folder is no checkpoint, or a corrupt or foreign one.
        """
        folder = Path(folder)
        model = Gato(files.config_from_json(GatoConfig, files.read_config(folder), folder))
        files.load_weights(model, folder)
        return model.to(device).eval()
