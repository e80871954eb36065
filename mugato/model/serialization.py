"""Checkpoints on disk: safetensors and JSON, whole or not at all, never a pickle."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from mugato.system.errors import one_line
from mugato.system.files import write_text_whole, write_whole
from mugato.system.typed_json import read_json

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CHECKSUM = "crc32"  # the key of a file's metadata


def save_model(model: nn.Module, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the weights, then the config that makes them loadable.

    Raises:
        ValueError: if the weights are not finite; what is there stays.
    """
    check_finite(model, folder / WEIGHTS)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, model.state_dict())
    write_config(folder, config)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `config.json`."""
    text = json.dumps(config, indent=2) + "\n"
    write_text_whole(folder / CONFIG, text)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model from `model.safetensors`.

    Raises:
        ValueError: if the file is missing, truncated, made for another model, or not finite.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise ValueError(f"{folder} holds no {WEIGHTS}")
    weights, _ = read_tensors(path)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not fit its {CONFIG}: {reason}") from None
    check_finite(model, path)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, with a checksum, which that format lacks."""
    kept = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    about = dict(metadata or {})
    about[CHECKSUM] = _checksum(kept, about)
    write_whole(path, lambda beside: safetensors.torch.save_file(kept, beside, metadata=about))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file and what is said beside the tensors, ours or another program's.

    Raises:
        ValueError: it cannot be read, or is not what was written; names the file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is corrupt: {one_line(error)}") from None
    written = metadata.pop(CHECKSUM, None)  # other programs write none
    if written is not None and written != _checksum(tensors, metadata):
        raise ValueError(f"{path} is corrupt: what is in it is not what was written")
    return tensors, metadata


def _checksum(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    found = zlib.crc32(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name].cpu().reshape(-1).view(torch.uint8).numpy().data
        found = zlib.crc32(values, zlib.crc32(name.encode(), found))
    return f"{found:08x}"


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        ValueError: if it is missing or not one of ours.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} that could hold an agent")
    if not path.exists():
        raise ValueError(f"{folder} holds no mugato checkpoint: there is no {CONFIG} in it")
    config = read_json(path)
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} is not a mugato config: it has no 'model'")
    return config


def check_finite(model: nn.Module, where: Path) -> None:
    """Refuse weights with which nothing can be computed.

    Raises:
        ValueError: naming the file and the first such weight.
    """
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{where}: the weights {name} are not finite (NaN or infinite)")
