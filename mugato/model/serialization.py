"""Checkpoints on disk: safetensors and JSON, whole or not at all, never a pickle."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import safetensors
import safetensors.torch
from torch import nn

from mugato.system.files import write_whole

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def save_model(model: nn.Module, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the weights, then the config that makes them loadable."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda path: safetensors.torch.save_file(weights, path))
    text = json.dumps(config, indent=2) + "\n"
    write_whole(folder / CONFIG, lambda path: path.write_text(text))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model from `model.safetensors`.

    Raises:
        ValueError: if the file is missing, truncated, or made for another model.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{folder} holds no {WEIGHTS}")
    try:
        weights = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is corrupt: {error}") from None
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} does not fit its {CONFIG}: {reason}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`.

    Raises:
        ValueError: if it is missing or not one of ours.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} holds no mugato checkpoint: there is no {CONFIG} in it")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} is not a mugato config: it has no 'model'")
    return config


def from_json(cls: type, data: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass, and those within it, from what `dataclasses.asdict` gave.

    Raises:
        ValueError: for an unknown key, naming `where` it stands.
    """
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{where}: unknown keys {unknown}; known are {sorted(known)}")
    hints = get_type_hints(cls)
    return cls(
        **{
            name: from_json(hints[name], value, f"{where}.{name}")
            if is_dataclass(hints[name])
            else value
            for name, value in data.items()
        }
    )
