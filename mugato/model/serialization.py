"""Checkpoints on disk: safetensors and JSON, whole or not at all, never a pickle."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import safetensors
import safetensors.torch
import torch
from torch import nn

from mugato.system.files import write_whole

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def save_model(model: nn.Module, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the weights, then the config that makes them loadable.

    Raises:
        ValueError: if the weights are not finite; what is there stays.
    """
    check_finite(model, folder / WEIGHTS)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_whole(folder / WEIGHTS, lambda path: safetensors.torch.save_file(weights, path))
    text = json.dumps(config, indent=2) + "\n"
    write_whole(folder / CONFIG, lambda path: path.write_text(text))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model from `model.safetensors`.

    Raises:
        ValueError: if the file is missing, truncated, made for another model, or not finite.
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
    check_finite(model, path)


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


def check_finite(model: nn.Module, where: Path) -> None:
    """Refuse weights with which nothing can be computed.

    Raises:
        ValueError: naming the file and the first such weight.
    """
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{where}: the weights {name} are not finite (NaN or infinite)")


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
        **{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """Give a value back the type that JSON has no word for."""
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where)
    if hint is Path:
        return Path(value)
    if get_origin(hint) is tuple:
        first = get_args(hint)[0]  # all are of one type
        return tuple(_value(first, item, f"{where}[{i}]") for i, item in enumerate(value))
    return value
