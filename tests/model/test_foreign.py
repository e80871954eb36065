"""Weights of Hugging Face checkpoints: what fits is theirs to the bit, what does not is named."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mugato.data.config import DatasetConfig
from mugato.model.foreign import is_foreign, take_weights
from mugato.model.gato import Gato
from mugato.training.presets import own
from mugato.training.setup import as_begun, make_agent, open_sources
from tests.agents import tiny_agent, tiny_config
from tests.tokens.test_sequence import TOKENIZER

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 100, "vocab_size": 10}


def write(folder, kind="GPT2LMHeadModel", **changes):
    """Write a GPT-2 as their own program does."""
    torch.manual_seed(1)
    config = transformers.GPT2Config(**{**SIZES, **changes}, bos_token_id=0, eos_token_id=0)
    model = getattr(transformers, kind)(config).eval()
    for parameter in model.parameters():  # biases and norms, too
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model


def make(name, **changes):
    torch.manual_seed(0)
    return Gato(tiny_config(TOKENIZER.vocab, sequence_model=name, **changes)).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "GPT2Model"])
def test_the_same_architecture_computes_what_theirs_does(tmp_path, kind):
    theirs, ours = write(tmp_path, kind), make("hf:gpt2")
    table = ours.embedding.table.weight.clone()
    lines = take_weights(ours, tmp_path)
    x, positions = torch.randn(2, 20, 32), torch.arange(20).expand(2, -1)
    expected = getattr(theirs, "transformer", theirs)(inputs_embeds=x).last_hidden_state
    found, _ = ours.sequence_model(x, positions, torch.ones_like(positions))
    torch.testing.assert_close(found, expected)
    assert torch.equal(ours.embedding.table.weight, table)
    assert lines[0].startswith("27 tensors of") and "wte.weight has no place" in lines[1]
    assert len(lines) == 2  # nothing stays fresh


@torch.no_grad()
@pytest.mark.parametrize("name", ["rotary", "transformer-xl"])
def test_our_transformers_take_norms_and_attention(tmp_path, name):
    theirs, ours = write(tmp_path).transformer, make(name)
    lines = take_weights(ours, tmp_path)
    x = torch.randn(3, 7, 32)
    for block, other in zip(ours.sequence_model.blocks, theirs.h, strict=True):
        torch.testing.assert_close(block.norm_1(x), other.ln_1(x))
        torch.testing.assert_close(block.norm_2(x), other.ln_2(x))
        q, k, v = other.attn.c_attn(x).split(32, dim=2)
        for found, whole in zip(block.mixer.heads.split(x), (q, k, v), strict=True):
            torch.testing.assert_close(found, whole.view(3, 7, 2, 16).transpose(1, 2))
        torch.testing.assert_close(block.mixer.heads.out(x), other.attn.c_proj(x))
    torch.testing.assert_close(ours.sequence_model.norm(x), theirs.ln_f(x))
    assert "h.*.mlp.c_fc.weight (2) has no place" in lines[1]
    assert "wpe.weight has no place" in lines[1]
    assert "blocks.*.feed_forward.up.weight (2)" in lines[2]


def test_blocks_that_are_too_many_and_biases_without_place_are_named(tmp_path):
    write(tmp_path, n_layer=4)
    lines = take_weights(make("rotary", bias=False), tmp_path)
    assert "h.*.ln_1.weight (2) has no place" in lines[1]
    assert "h.*.attn.c_attn.bias (4) has no place" in lines[1]


def test_what_computes_otherwise_is_named(tmp_path):
    write(tmp_path, activation_function="relu")
    assert "Warning: their activation_function is 'relu', ours 'gelu_new'" in take_weights(
        make("hf:gpt2"), tmp_path
    )


def test_what_does_not_fit_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=r"of width 32, the config says 64: set --model.width 32"):
        take_weights(make("rotary", width=64), tmp_path)
    with pytest.raises(ValueError, match=r"num-heads 2, .* says 4: set --model.num-heads 2"):
        take_weights(make("rotary", num_heads=4, head_size=8), tmp_path)
    with pytest.raises(ValueError, match=r"nothing fits 'hf:llama': .*h\.\*\.ln_1\.weight \(2\)"):
        take_weights(make("hf:llama"), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"no model.safetensors; pytorch_model.bin may be a pickle"
    ):
        take_weights(make("rotary"), tmp_path)


def test_several_files_and_half_precision_are_read(tmp_path):
    write(tmp_path / "whole")
    weights = {k: v.half() for k, v in load_file(tmp_path / "whole/model.safetensors").items()}
    names = sorted(weights)
    (tmp_path / "parts").mkdir()
    for i, part in enumerate((names[:9], names[9:])):
        path = tmp_path / f"parts/model-0000{i + 1}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, path)
    config = (tmp_path / "whole/config.json").read_text()
    (tmp_path / "parts/config.json").write_text(config)
    ours = make("hf:gpt2")
    take_weights(ours, tmp_path / "parts")
    found = ours.sequence_model.state_dict()["model.h.1.mlp.c_fc.weight"]
    assert torch.equal(found, weights["transformer.h.1.mlp.c_fc.weight"].float())


def test_a_run_begins_with_them(tmp_path):
    write(tmp_path)
    config = own([DatasetConfig(name="shakespeare")], run=tmp_path / "run")
    model = tiny_config(config.model.vocab, sequence_model="rotary")
    config = dataclasses.replace(config, init_from=tmp_path, model=model)
    assert is_foreign(tmp_path) and as_begun(config, resume=False) == config
    told = []
    agent = make_agent(config, open_sources(config.datasets), TOKENIZER, tell=told.append)
    weights = load_file(tmp_path / "model.safetensors")
    found = agent.model.sequence_model.state_dict()["blocks.1.mixer.heads.qkv.weight"]
    assert torch.equal(found, weights["transformer.h.1.attn.c_attn.weight"].T)
    assert told[0].endswith("were taken (gpt2)")


def test_an_agent_of_ours_and_other_folders_are_not_foreign(tmp_path):
    tiny_agent({}).save_pretrained(tmp_path)
    assert not is_foreign(tmp_path) and not is_foreign(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps([1]))
    assert not is_foreign(tmp_path)
