"""What only the models of Hugging Face can get wrong."""

import pytest
import torch

from mugato.model.gato import build_sequence_model
from mugato.model.precision import to_inference_dtype
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER

pytestmark = pytest.mark.filterwarnings("ignore")


def make(name, **changes):
    torch.manual_seed(0)
    return build_sequence_model(tiny_config(TOKENIZER.vocab, sequence_model=name, **changes)).eval()


@pytest.fixture
def folder(tmp_path):
    """Write what another program's `save_pretrained` left."""
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(1)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 10}
    model = GPT2Model(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    model.save_pretrained(tmp_path)
    return tmp_path, model


@torch.no_grad()
def test_pretrained_weights_are_used(folder):
    path, theirs = folder
    ours = make(f"hf:{path}")
    x, positions = torch.randn(2, 20, 32), torch.arange(20).expand(2, -1)
    expected = theirs(inputs_embeds=x).last_hidden_state
    torch.testing.assert_close(ours(x, positions, torch.ones_like(positions))[0], expected)


def test_a_folder_of_another_size_says_which_flag_to_set(folder):
    with pytest.raises(ValueError, match=r"width 32, the config says 48: set --model.width 32"):
        make(f"hf:{folder[0]}", width=48)
    with pytest.raises(ValueError, match=r"64 positions.*set --model.context-length 64"):
        make(f"hf:{folder[0]}", context_length=128)


def test_an_unknown_model_type_is_named():
    with pytest.raises(ValueError, match=r"no such folder, and transformers .* 'gpt22'"):
        make("hf:gpt22")


@torch.no_grad()
@pytest.mark.parametrize("name", ["hf:gpt2", "hf:mamba"])
def test_a_full_row_goes_on_from_its_last_half(name):
    model = make(name, context_length=16)
    x, state, outputs = torch.randn(1, 20, 32), model.init_state(1, 16), []
    for i in range(20):
        position = torch.tensor([[i]])
        y, state = model(x[:, i : i + 1], position, torch.ones_like(position), state)
        outputs.append(y)
        assert len(state.rows[0].inputs) <= 16
    positions = torch.arange(12)[None]  # the last half of the first 16, and the four after them
    expected, _ = model(x[:, 8:], positions, torch.ones_like(positions))
    torch.testing.assert_close(torch.cat(outputs, 1)[:, 16:], expected[:, 8:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hf:gpt2", "hf:mamba"])
def test_it_acts_in_bf16(name):
    """Mamba's residual stream stays in fp32."""
    model = to_inference_dtype(make(name), torch.bfloat16)
    x, position = torch.randn(1, 1, 32, dtype=torch.bfloat16), torch.zeros(1, 1, dtype=torch.long)
    y, _ = model(x, position, torch.ones_like(position), model.init_state(1, 16))
    assert y.dtype == torch.bfloat16


def test_weights_kept_in_bf16_are_trained_in_fp32(folder):
    path, theirs = folder
    theirs.to(torch.bfloat16).save_pretrained(path)
    assert {p.dtype for p in make(f"hf:{path}").parameters()} == {torch.float32}


def test_a_model_that_sees_the_future_is_refused():
    with pytest.raises(ValueError, match="hf:bert is not a causal model: it sees the future"):
        make("hf:bert")


def test_sizes_that_an_architecture_cannot_have_are_named():
    with pytest.raises(ValueError, match=r"hf:gpt2 cannot be made with .*num_attention_heads"):
        make("hf:gpt2", num_heads=5)
