"""Weights of a Hugging Face checkpoint's blocks in a sequence model of ours: what fits is taken.

A folder with `config.json` and safetensors, as their `save_pretrained` leaves it. A model of the
same architecture ("hf:gpt2") takes every block; our transformers take the norms and the attention
of GPT-2's, whose feed-forward has no gate. Tables of ids stay ours. Nothing is downloaded, and
pickles are not read.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.model.huggingface import HuggingFaceModel
from mugato.model.serialization import CONFIG, read_tensors
from mugato.system.typed_json import read_json

# Models with a head have their body below one of these.
PREFIXES = ("", "transformer.", "model.", "backbone.")
# Of GPT-2's names ours; their matrices lie transposed.
OURS = {
    r"h\.(\d+)\.ln_1\.": r"blocks.\1.norm_1.",
    r"h\.(\d+)\.attn\.c_attn\.": r"blocks.\1.mixer.heads.qkv.",
    r"h\.(\d+)\.attn\.c_proj\.": r"blocks.\1.mixer.heads.out.",
    r"h\.(\d+)\.ln_2\.": r"blocks.\1.norm_2.",
    r"ln_f\.": "norm.",
}
POSITIONS = "wpe.weight"  # of a longer table the first rows are taken
WIDTHS, HEADS = ("hidden_size", "n_embd", "d_model"), ("num_attention_heads", "n_head")
# What changes the meaning of the same weights.
MEANINGS = ("activation_function", "hidden_act", "layer_norm_epsilon", "rms_norm_eps", "rope_theta")


def is_foreign(folder: Path) -> bool:
    """Tell whether a folder holds another program's checkpoint, by its `config.json`."""
    path = folder / CONFIG
    if not path.is_file():
        return False
    config = read_json(path)
    return isinstance(config, dict) and "model_type" in config and "model" not in config


@torch.no_grad()
def take_weights(model: Gato, folder: Path) -> list[str]:
    """Copy what fits of a checkpoint's weights into a model's blocks, in place.

    Returns:
        What was taken, what was not and why, and what stays fresh; one line each.

    Raises:
        ValueError: no safetensors, damaged ones, other heads or another width, or blocks of which
            nothing fits; names the folder.
    """
    theirs = read_json(folder / CONFIG)
    _check_sizes(theirs, model.config, folder)
    places = model.sequence_model.state_dict()
    foreign = isinstance(model.sequence_model, HuggingFaceModel)
    taken, left = set[str](), list[tuple[str, str]]()
    for name, tensor in _read(folder):
        place = _place(name, places, foreign=foreign)
        if place is None:
            left.append((name, "has no place"))
            continue
        value, wanted = tensor if foreign or tensor.ndim < 2 else tensor.T, places[place]
        if place.endswith(POSITIONS):
            value = value[: len(wanted)]
        if value.shape != wanted.shape:
            left.append((name, f"is {_size(value)}, not {_size(wanted)}"))
            continue
        wanted.copy_(value)
        taken.add(place)
    fresh = [name for name in places if name not in taken]
    if not taken:
        raise ValueError(
            f"{folder}: nothing fits {model.config.sequence_model!r}: {_grouped(left)}"
        )
    lines = [f"{len(taken)} tensors of {folder} were taken ({theirs['model_type']})"]
    lines += [f"Not taken: {_grouped(left)}"] if left else []
    lines += [f"Fresh: {_grouped((name, '') for name in fresh)}"] if fresh else []
    return lines + list(_other_meanings(theirs, model.sequence_model))


def _read(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Read all tensors, in fp32; large checkpoints come in several files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.name for path in folder.glob("*.bin")]
        hint = f"; {', '.join(pickles)} may be a pickle, which is not read" if pickles else ""
        raise ValueError(f"{folder} holds no model.safetensors{hint}")
    for file in files:
        for name, tensor in read_tensors(file)[0].items():
            yield name, tensor.float()


def _place(name: str, places: Mapping[str, Tensor], *, foreign: bool) -> str | None:
    """Find where a tensor of theirs belongs in a sequence model of ours."""
    for prefix in PREFIXES:
        short = name.removeprefix(prefix)
        if foreign:
            candidates = [f"model.{short}"]
        else:
            candidates = [re.sub(f"^{old}", new, short) for old, new in OURS.items()]
        if found := [c for c in candidates if c != short and c in places]:
            return found[0]
    return None


def _check_sizes(theirs: Mapping[str, Any], config: GatoConfig, folder: Path) -> None:
    for names, ours, flag in (
        (WIDTHS, config.width, "width"),
        (HEADS, config.num_heads, "num-heads"),
    ):
        size = next((theirs[name] for name in names if name in theirs), ours)
        if size != ours:
            raise ValueError(
                f"{folder} holds a model of {flag} {size}, the config says {ours}: set "
                f"--model.{flag} {size}"
            )


def _other_meanings(theirs: Mapping[str, Any], model: Any) -> Iterator[str]:
    """Say where an architecture of the same weights computes otherwise than theirs."""
    ours = getattr(getattr(model, "model", None), "config", None)
    for name in MEANINGS:
        value = getattr(ours, name, None)
        if value is not None and theirs.get(name, value) != value:
            yield f"Warning: their {name} is {theirs[name]!r}, ours {value!r}"


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))


def _grouped(names: Iterable[tuple[str, str]]) -> str:
    """List names with their reasons, those of all blocks as one."""
    counts = Counter((re.sub(r"\.\d+\.", ".*.", name), why) for name, why in names)
    return ", ".join(
        name + (f" ({count})" if count > 1 else "") + (f" {why}" if why else "")
        for (name, why), count in counts.items()
    )
