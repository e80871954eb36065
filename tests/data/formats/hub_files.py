"""Small data sets in the layout of the Hugging Face hub: parquet by configuration, a README.md."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Features, Image, List, Value
from huggingface_hub import constants
from PIL import Image as PillowImage

from mugato.data.formats.jat import CONFIGS

FLOATS = List(List(Value("float32")))
JAT_FEATURES = {
    "image_observations": List(Image()),
    "continuous_observations": FLOATS,
    "discrete_observations": List(List(Value("int64"))),
    "text_observations": List(Value("string")),
    "continuous_actions": FLOATS,
    "discrete_actions": List(Value("int64")),
    "rewards": List(Value("float32")),
    "text": Value("string"),
    "images": Image(),
}


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up an empty cache, and a port where nothing listens in the hub's place."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")


def write_parquet(
    folder: Path, splits: Mapping[str, Mapping[str, Sequence[Any]]], features: Mapping[str, Any]
) -> Path:
    """Write a file for each split, named as the hub's uploader names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, columns in splits.items():
        typed = Features({name: features[name] for name in columns})
        table = datasets.Dataset.from_dict(dict(columns), features=typed)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def write_readme(
    folder: Path, configs: Sequence[str], splits: Sequence[str], path: str = "{config}/{split}-*"
) -> None:
    """Write the card whose YAML lists configurations."""
    lines = ["---", "license: apache-2.0", "configs:"]
    for config in configs:
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {path.format(config=config, split=split)}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# A data set", ""]))


def write_jat(root: Path, config: str, train: Mapping[str, Sequence[Any]]) -> str:
    """One configuration of JAT, the same rows in both splits; returns what follows `jat:`.

    The card lists all, as the hub's does: a copy has only some of them.
    """
    splits = {"train": train, "test": train}
    write_parquet(root / config, splits, JAT_FEATURES)
    write_readme(root, CONFIGS, list(splits))
    return str(root / config)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def game_stacks(timesteps: int, seed: int = 0) -> np.ndarray:
    """Draw a ball between walls as JAT stores games, (timesteps, 84, 84, 4), newest frame last."""
    rng = np.random.default_rng(seed)
    frames = np.full((timesteps + 3, 84, 84), 40, np.uint8)
    frames[:, :8] = 200
    frames[:, -8:] = 120
    for t, (y, x) in enumerate(rng.integers(10, 60, size=(timesteps + 3, 2))):
        frames[t, y : y + 14, x : x + 14] = 255
    return np.stack([frames[i : i + timesteps] for i in range(4)], axis=-1)
