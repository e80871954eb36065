"""The contract of a sequence model, over all that there are."""

import pytest
import torch

from mugato.model.gato import SEQUENCE_MODELS, Gato, build_sequence_model
from mugato.tokens.packing import pack, pad
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER, encode

OWN = "examples.sequence_model:MinimalGatedUnit"
HUGGING_FACE = ["hf:gpt2", "hf:llama", "hf:mamba"]
ALL = [
    *SEQUENCE_MODELS,
    OWN,
    *(pytest.param(name, marks=pytest.mark.thorough) for name in HUGGING_FACE),
]
LENGTH = 100
pytestmark = [pytest.mark.parametrize("name", ALL), pytest.mark.filterwarnings("ignore")]


def make(name, **changes):
    torch.manual_seed(0)
    config = tiny_config(TOKENIZER.vocab, sequence_model=name, **{"context_length": 128, **changes})
    return build_sequence_model(config).eval()


def rows(length=LENGTH, num_rows=2, seed=0):
    """Random vectors as whole rows of one segment each."""
    x = torch.randn(num_rows, length, 32, generator=torch.Generator().manual_seed(seed))
    positions = torch.arange(length).expand(num_rows, -1)
    return x, positions, torch.ones_like(positions)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def stream(model, x, positions, segments, state, step=1):
    """Read some tokens at a time; return all outputs and the last state."""
    outputs = []
    for at in range(0, x.shape[1], step):
        cut = slice(at, at + step)
        y, state = model(x[:, cut], positions[:, cut], segments[:, cut], state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


@pytest.mark.parametrize("step", [1, 7])
def test_streaming_equals_one_full_pass(name, step):
    model = make(name)
    x, positions, segments = rows()
    full, none = model(x, positions, segments)
    assert none is None
    close(stream(model, x, positions, segments, model.init_state(2, 128 + 7), step)[0], full)


@pytest.mark.thorough
@torch.no_grad()
def test_1000_steps_equal_full_passes(name):
    """The same at every step, long after the ring's wrap.

    Ours equal one pass over all tokens in which each sees as far back as the context reaches (a
    recurrence sees everything). Theirs begin anew with the last half of a full context; from there
    on they equal a pass over that half and what follows.
    """
    model, length, context_length = make(name, context_length=64), 1000, 64
    x, positions, segments = rows(length, num_rows=1)
    streamed = stream(model, x, positions, segments, model.init_state(1, context_length + 1))[0]
    if name not in HUGGING_FACE:
        expected = model(x, positions, segments)[0]
    else:
        first, windows = 0, [(0, 0)]
        for t in range(length):
            if t - first == context_length:
                first = t - context_length // 2
                windows.append((first, t))
        expected = torch.zeros_like(x)
        for start, since in windows:
            cut = slice(start, min(start + context_length, length))
            n = cut.stop - start
            y = model(x[:, cut], positions[:, :n], segments[:, cut])[0]
            expected[:, since : cut.stop] = y[:, since - start :]
    torch.testing.assert_close(streamed, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_future_changes_nothing_in_the_past(name):
    model = make(name)
    x, positions, segments = rows()
    changed = x.clone()
    changed[:, 60:] = rows(seed=1)[0][:, 60:]
    before, after = (model(v, positions, segments)[0] for v in (x, changed))
    close(before[:, :60], after[:, :60])
    assert not torch.allclose(before[:, 60:], after[:, 60:], atol=1e-3)


@torch.no_grad()
def test_a_packed_segment_equals_that_segment_alone(name):
    model = make(name)
    x, _, _ = rows(num_rows=1)
    lengths = [30, 1, 50, 10]  # and ten places of padding
    positions = torch.cat([torch.arange(n) for n in lengths] + [torch.zeros(9).long()])[None]
    segments = torch.cat(
        [torch.full((n,), i + 1) for i, n in enumerate(lengths)] + [torch.zeros(9).long()]
    )[None]
    packed = model(x, positions, segments)[0][0]
    start = 0
    for n in lengths:
        alone = model(x[:, start : start + n], torch.arange(n)[None], torch.ones(1, n).long())[0]
        close(packed[start : start + n], alone[0])
        start += n


@torch.no_grad()
def test_padding_between_tokens_changes_nothing(name):
    model = make(name)
    x, positions, segments = rows(num_rows=1, length=20)
    places = torch.arange(20) + torch.arange(20) // 4  # a gap after every four tokens
    spread = torch.randn(1, 30, 32)
    spread[:, places] = x
    spread_positions, spread_segments = torch.zeros(2, 1, 30, dtype=torch.int64)
    spread_positions[0, places], spread_segments[0, places] = positions[0], 1
    expected = model(x, positions, segments)[0][0]
    close(model(spread, spread_positions, spread_segments)[0][0, places], expected)
    state = model.init_state(1, 128 + 30)
    close(model(spread, spread_positions, spread_segments, state)[0][0, places], expected)


@pytest.mark.thorough
@torch.no_grad()
def test_a_state_can_be_copied_and_its_rows_chosen(name):
    model = make(name)
    x, positions, segments = rows()
    expected = model(x, positions, segments)[0]
    first, rest = slice(0, 40), slice(40, None)
    _, state = stream(model, x[:, first], positions[:, first], segments[:, first],
                      model.init_state(2, 128), 8)  # fmt: skip
    order = torch.tensor([1, 0, 1])
    copied = state.select(order)
    y, _ = stream(model, x[order][:, rest], positions[order][:, rest], segments[order][:, rest],
                  copied)  # fmt: skip
    close(y, expected[order][:, rest])
    # The state that was copied from is as it was.
    y, _ = stream(model, x[:, rest], positions[:, rest], segments[:, rest], state)
    close(y, expected[:, rest])


@torch.no_grad()
def test_a_row_is_reset_alone(name):
    model = make(name)
    x, positions, segments = rows()
    expected = model(x, positions, segments)[0]
    _, state = stream(model, x[:, :40], positions[:, :40], segments[:, :40],
                      model.init_state(2, 128), 8)  # fmt: skip
    state = state.reset(torch.tensor([False, True]))
    mixed = torch.stack([x[0, 40:60], x[1, :20]])
    mixed_positions = torch.stack([positions[0, 40:60], positions[1, :20]])
    y, _ = stream(model, mixed, mixed_positions, segments[:, :20], state)
    close(y[0], expected[0, 40:60])
    close(y[1], expected[1, :20])


@pytest.mark.thorough
@torch.no_grad()
def test_a_row_becomes_a_copy_of_another_states_row(name):
    model = make(name)
    x, positions, segments = rows()
    expected = model(x, positions, segments)[0]
    length = 128 + 8
    _, prompt = stream(model, x[1:, :40], positions[1:, :40], segments[1:, :40],
                       model.init_state(1, length), 8)  # fmt: skip
    _, state = stream(model, x[:, :80], positions[:, :80], segments[:, :80],
                      model.init_state(2, length), 8)  # fmt: skip
    state = state.copy_rows_from(prompt, torch.tensor([False, True]))
    for _ in range(2):  # the state that was copied from is as it was
        mixed = torch.stack([x[0, 80:], x[1, 40:60]])
        mixed_positions = torch.stack([positions[0, 80:], positions[1, 40:60]])
        y, _ = stream(model, mixed, mixed_positions, segments[:, :20], state)
        close(y[0], expected[0, 80:])
        close(y[1], expected[1, 40:60])
        _, state = stream(model, x[:, :80], positions[:, :80], segments[:, :80],
                          model.init_state(2, length), 8)  # fmt: skip
        state = state.copy_rows_from(prompt, torch.tensor([False, True]))


@torch.no_grad()
def test_rows_of_different_lengths_are_read_together(name):
    model = make(name)
    x, positions, segments = rows(length=20)
    expected = model(x, positions, segments)[0]
    shorter = segments.clone()
    shorter[1, 12:] = 0
    y, state = model(x, positions * shorter, shorter, model.init_state(2, 128))
    close(y[0], expected[0])
    close(y[1, :12], expected[1, :12])
    y, _ = model(x[:, 12:], positions[:, 12:] + torch.tensor([[8], [0]]), segments[:, 12:], state)
    close(y[1], expected[1, 12:])


def test_a_gradient_reaches_every_parameter(name):
    model = make(name).train()
    y, _ = model(*rows())
    (y * torch.randn_like(y)).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without


def test_gato_trains_and_acts_with_it(name):
    torch.manual_seed(0)
    config = tiny_config(TOKENIZER.vocab, sequence_model=name, context_length=256)
    model = Gato(config)
    sequences = [encode(timesteps=n, seed=n) for n in (2, 3)]
    losses = model(pack(sequences, length=256))
    losses.mean().backward()
    with torch.no_grad():
        model.eval()
        by_pad, by_pack = model(pad(sequences)).values, model(pack(sequences, length=256)).values
        close(by_pad.sort().values, by_pack.sort().values)


def test_it_is_saved_and_loaded(name, tmp_path):
    torch.manual_seed(0)
    model = Gato(tiny_config(TOKENIZER.vocab, sequence_model=name))
    model.save_pretrained(tmp_path)
    loaded = Gato.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


def test_activations_computed_again_give_the_same_gradients(name):
    model = make(name).train()
    gradients = []
    for again in (False, True):
        model.checkpoint_activations = again
        model.zero_grad()
        y, _ = model(*rows())
        y.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for kept, computed in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, computed, rtol=1e-3, atol=1e-3)
