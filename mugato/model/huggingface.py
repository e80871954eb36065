"""Any Hugging Face causal model as the sequence model, fed with our vectors (`inputs_embeds`).

Segments are laid into rows of their own before the model sees them, so that no model needs to know
of packing: what a causal model pads at the end cannot be seen. In acting every row has a cache of
its own, which makes any of their caches right for rows of different lengths, and slower than ours.
"""

import copy
import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mugato.model.config import HUGGING_FACE, GatoConfig
from mugato.model.sequence_model import SequenceModel
from mugato.system.errors import one_line
from mugato.system.optional import require

# Lengths of rows are rounded up to this: every new shape costs a compilation on CPUs.
LENGTH_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Row:
    """One running sequence.

    Attributes:
        cache: the library's; None before the first token.
        inputs: (tokens, width): the vectors that the cache was made from.
    """

    inputs: Float[Tensor, "tokens width"]
    cache: Any = None


@dataclass(frozen=True, kw_only=True)
class HuggingFaceState:
    """A cache for each row; the longest holds `max_length` tokens."""

    rows: tuple[Row, ...]
    max_length: int

    def select(self, rows: Int[Tensor, " rows"]) -> "HuggingFaceState":
        """Copy some rows."""
        return replace(self, rows=tuple(copy.deepcopy(self.rows[i]) for i in rows.tolist()))

    def reset(self, rows: Bool[Tensor, " B"]) -> "HuggingFaceState":
        """Empty the marked rows."""
        pairs = zip(self.rows, rows.tolist(), strict=True)
        return replace(
            self, rows=tuple(Row(inputs=r.inputs[:0]) if marked else r for r, marked in pairs)
        )

    def copy_rows_from(
        self, other: "HuggingFaceState", rows: Bool[Tensor, " B"]
    ) -> "HuggingFaceState":
        """Make every marked row a copy of the only row of `other`."""
        (row,) = other.rows
        pairs = zip(self.rows, rows.tolist(), strict=True)
        return replace(self, rows=tuple(copy.deepcopy(row) if marked else r for r, marked in pairs))


class HuggingFaceModel(SequenceModel):
    """`config.sequence_model` is "hf:MODEL_TYPE" (fresh weights in our sizes) or "hf:FOLDER".

    Of our sizes theirs take the width, the layers, the heads and the context (and dropout, where
    they have it); head size, biases and stochastic depth are as the architecture has them.

    A folder holds what their `save_pretrained` wrote; its hidden size must be `config.width`, and
    it must still be there when a checkpoint of ours is loaded: it tells the architecture.

    Raises:
        ImportError: without the `transformers` package, saying how to install it.
        ValueError: for a model type they do not have, sizes that it cannot have, a folder's model
            of another width, or a model that is not causal.

    >>> config = GatoConfig(width=32, num_layers=1, num_heads=2, sequence_model="hf:gpt2")
    >>> positions = torch.arange(5)[None]
    >>> model = HuggingFaceModel(config)
    >>> model(torch.randn(1, 5, 32), positions, torch.ones_like(positions))[0].shape
    torch.Size([1, 5, 32])
    """

    acts_in_bf16 = True

    def __init__(self, config: GatoConfig) -> None:
        super().__init__()
        self.config = config
        name = config.sequence_model.removeprefix(HUGGING_FACE)
        self.model: Any = _pretrained(name, config) if Path(name).is_dir() else _fresh(name, config)
        # Our own embedding takes its place: a table without gradients would only be in the way.
        self.model.set_input_embeddings(nn.Identity())
        parameters = inspect.signature(self.model.forward).parameters
        self.cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"
        self._check_causal()

    def init_state(self, batch_size: int, max_length: int) -> HuggingFaceState:
        """Make empty rows; a full one will read its last half again and go on from there."""
        nothing = next(self.model.parameters()).new_zeros((0, self.config.width))
        rows = tuple(Row(inputs=nothing) for _ in range(batch_size))
        return HuggingFaceState(rows=rows, max_length=min(max_length, self.config.context_length))

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        positions: Int[Tensor, "B L"],
        segments: Int[Tensor, "B L"],
        state: HuggingFaceState | None = None,
    ) -> tuple[Float[Tensor, "B L width"], HuggingFaceState | None]:
        x = x.to(next(self.model.parameters()).dtype)
        if self.checkpoint_activations and not self.model.is_gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        if state is None:
            return self._whole(x, positions, segments), None
        y, rows = torch.zeros_like(x), []
        for b, row in enumerate(state.rows):
            real = segments[b] > 0
            if real.any():
                y[b, real], row = self._read(row, x[b, real], state.max_length)
            rows.append(row)
        return y, replace(state, rows=tuple(rows))

    @torch.no_grad()
    def _check_causal(self) -> None:
        """Refuse what is not a language model: it would see the targets in training."""
        parameter = next(self.model.parameters())
        if parameter.is_meta:
            return
        x = torch.linspace(-1, 1, 2 * self.config.width).view(1, 2, -1).to(parameter)
        changed = torch.stack([x[:, 0], x[:, 1].roll(1, -1)], dim=1)
        training, _ = self.model.training, self.model.eval()
        first, second = (self.model(inputs_embeds=v, use_cache=True) for v in (x, changed))
        self.model.train(training)
        moved = not torch.allclose(first[0][:, 0], second[0][:, 0], atol=1e-5)
        if moved or first.get(self.cache_name) is None:
            raise ValueError(
                f"{self.config.sequence_model} is not a causal model: "
                + ("it sees the future" if moved else "it keeps no cache of the past")
            )

    def _whole(self, x: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        """Read each segment in a row of its own, and lay the outputs back."""
        real = segments > 0
        rows = torch.arange(len(x), device=x.device)[:, None]
        number = (rows * (int(segments.max()) + 1) + segments)[real]
        _, row = number.unique(return_inverse=True)
        place = (row, positions[real])
        if not len(row):
            return x
        length = -(-(int(place[1].max()) + 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
        alone = x.new_zeros(
            (int(row.max()) + 1, min(length, self.config.context_length), x.shape[2])
        )
        alone = alone.index_put(place, x[real])
        output = self.model(inputs_embeds=alone, use_cache=False).last_hidden_state
        return torch.zeros_like(x).masked_scatter(real[..., None], output[place].to(x.dtype))

    def _read(self, row: Row, x: Tensor, max_length: int) -> tuple[Tensor, Row]:
        """Append tokens to one row, a new start from its last half where there is no room."""
        outputs = []
        for token in x.split(1) if self.cache_name == "cache_params" else x.split(max_length // 2):
            if len(row.inputs) + len(token) > max_length:
                half = row.inputs[-(max_length // 2) :]
                _, row = self._append(Row(inputs=half[:0]), half)
            y, row = self._append(row, token)
            outputs.append(y)
        return torch.cat(outputs), row

    def _append(self, row: Row, x: Tensor) -> tuple[Tensor, Row]:
        options = {} if row.cache is None else {self.cache_name: row.cache}
        output = self.model(inputs_embeds=x[None], use_cache=True, **options)
        row = Row(inputs=torch.cat([row.inputs, x]), cache=output[self.cache_name])
        # Some keep their residual stream in fp32 whatever their weights are.
        return output.last_hidden_state[0].to(x.dtype), row


def _fresh(name: str, config: GatoConfig) -> nn.Module:
    """Make a model of this type with our width, depth, heads and context."""
    transformers = require("transformers", extra="hf")
    try:
        options = {"vocab_size": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
        defaults = transformers.AutoConfig.for_model(name, **options)
    except ValueError:
        raise ValueError(
            f"{HUGGING_FACE}{name}: there is no such folder, and transformers "
            f"{transformers.__version__} has no model type {name!r}"
        ) from None
    sizes = {
        "hidden_size": config.width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "head_dim": config.width // config.num_heads,
        "max_position_embeddings": config.context_length,
        # Feed-forwards of that name are gated, and theirs counts one half. GPT-2's is 4 x width.
        "intermediate_size": config.hidden_size // 2,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        "attention_dropout": config.dropout,
    }
    known = {key: value for key, value in sizes.items() if hasattr(defaults, key)}
    if hasattr(defaults, "expand"):  # state-space models: their inner size is expand x width
        known.pop("intermediate_size", None)
    try:
        return transformers.AutoModel.from_config(
            transformers.AutoConfig.for_model(name, **options, **known)
        )
    except Exception as error:  # each architecture has conditions of its own
        raise ValueError(
            f"{HUGGING_FACE}{name} cannot be made with {known}: {one_line(error)}"
        ) from error


def _pretrained(folder: str, config: GatoConfig) -> nn.Module:
    transformers = require("transformers", extra="hf")
    # In fp32 whatever the files hold: AdamW would lose small updates to bf16 weights.
    model = transformers.AutoModel.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    )
    if model.config.hidden_size != config.width:
        raise ValueError(
            f"{folder} holds a model of width {model.config.hidden_size}, the config says "
            f"{config.width}: set --model.width {model.config.hidden_size}"
        )
    longest = getattr(model.config, "max_position_embeddings", config.context_length)
    if longest < config.context_length:
        raise ValueError(
            f"{folder} holds a model for {longest} positions, the config says "
            f"{config.context_length}: set --model.context-length {longest}"
        )
    return model
