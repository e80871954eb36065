"""Checkpoints: whole, strict, and honest about what is wrong with them."""

import json

import pytest
import torch

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.system.files import write_whole
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    Gato(tiny_config(TOKENIZER.vocab)).save_pretrained(tmp_path)
    return tmp_path


def test_what_is_saved_is_what_is_loaded(folder):
    torch.manual_seed(0)
    saved = Gato(tiny_config(TOKENIZER.vocab)).state_dict()
    loaded = Gato.from_pretrained(folder).state_dict()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_missing_config_is_named(tmp_path):
    with pytest.raises(ValueError, match="no mugato checkpoint"):
        Gato.from_pretrained(tmp_path)


def test_truncated_weights_are_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors is corrupt"):
        Gato.from_pretrained(folder)


def test_foreign_weights_are_named(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["num_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit its config"):
        Gato.from_pretrained(folder)


def test_unknown_config_key_is_named(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["colour"] = "red"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"unknown keys \['colour'\]"):
        Gato.from_pretrained(folder)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def full_disk(beside):
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"could not write .*file.*No space left"):
        write_whole(path, full_disk)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("micro", 6), ("mini", 30), ("small", 80), ("baseline", 310), ("large", 1000)],
)
def test_presets_build(name, millions):
    with torch.device("meta"):
        model = Gato(getattr(GatoConfig, name)())
    assert model.num_parameters / 1e6 == pytest.approx(millions, rel=0.35)


def test_unknown_sequence_model_lists_the_known():
    with pytest.raises(ValueError, match="'rnn' is not one of"):
        Gato(tiny_config(TOKENIZER.vocab, sequence_model="rnn"))
