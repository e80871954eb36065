"""µGATO's dictionaries of padded tensors, against the packed path and by hand."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.model.gato import Gato
from mugato.tokens.packing import pack
from mugato.tokens.padded import batch_of_tensors, collate
from mugato.tokens.sequence import ACTION_POSITION, sequence
from mugato.tokens.timesteps import text_timesteps, tokenize
from tests.agents import random_episode, tiny_config, tiny_tokenizer

VOCAB = tiny_tokenizer().vocab
SCENE = spaces.Dict(
    image=spaces.Box(0, 255, (32, 48, 3), np.uint8),
    speed=spaces.Box(-1, 1, (2,)),
    button=spaces.Discrete(5),
)
ACTION = spaces.Dict(turn=spaces.Box(-1, 1, (2,)), press=spaces.Discrete(3))


def example(**changes):
    """Return µGATO's first example, in tensors."""
    tensors = {
        "mission": torch.arange(8).view(2, 4, 1),
        "image": torch.randint(0, 256, (2, 256, 768), dtype=torch.uint8),
        "action": torch.arange(2).view(2, 1, 1),
    }
    return {**tensors, **changes}


@pytest.fixture(scope="module")
def gato():
    torch.manual_seed(0)
    return Gato(tiny_config(VOCAB, context_length=1024)).eval()


@torch.no_grad()
def test_tensors_give_what_packed_episodes_give(gato):
    sequences, examples = [], []
    for timesteps in (2, 3):
        episode, spec = random_episode(SCENE, ACTION, timesteps, seed=timesteps)
        tokenized = tokenize(episode, spec, tiny_tokenizer())
        sequences.append(sequence(tokenized, VOCAB))
        tensors = {name: torch.from_numpy(array) for name, array in tokenized.tensors.items()}
        tensors["image"] = tensors["image"].unflatten(1, (2, 3))
        examples.append(
            {f"action/{n}" if n in ("turn", "press") else n: t for n, t in tensors.items()}
        )
    padded, packed = collate(examples), pack(sequences, length=128)
    torch.testing.assert_close(gato(padded).values, gato(packed).values)
    real = gato.batch_of(padded).inputs.segments > 0
    seen = packed.inputs.segments > 0
    torch.testing.assert_close(gato.hidden(padded)[0][real], gato.hidden(packed.inputs)[0][seen])


def test_the_places_of_mugatos_example():
    second = {
        "mission": torch.arange(9).view(3, 3, 1),
        "image": torch.zeros(3, 256, 768, dtype=torch.uint8),
        "action": torch.arange(3).view(3, 1, 1),
    }
    inputs = batch_of_tensors(collate([example(), second]), VOCAB).inputs
    assert inputs.ids.shape == (2, 3 * (4 + 256 + 1 + 1))
    grid = inputs.segments.unflatten(1, (3, 262))
    assert (grid[0, :2] == 1).all() and not grid[0, 2].any()
    assert not grid[1, :, 3].any() and (grid[1].sum(dim=1) == 261).all()
    first = inputs.ids[0, :262].tolist()
    assert first[:4] == [0, 1, 2, 3] and first[260:] == [VOCAB.separator, 0]
    places = inputs.local_positions[1, 262 : 2 * 262]
    assert places[[0, 2, 4, 259, 260]].tolist() == [0, 2, 3, 258, 259]
    assert places[261] == ACTION_POSITION
    # The second of 16x16 patches: the first eight rows, the second eight columns.
    assert inputs.intervals[0, 5].tolist() == [0, 8, 8, 16]
    assert inputs.positions[1, 262].item() == 261  # counted without padding


def test_texts_are_documents_of_one_timestep(gato):
    texts = [[5, 6, 7], [8, 9]]
    padded = collate([{"text": torch.tensor(ids).view(1, -1, 1)} for ids in texts])
    assert padded["text"].shape == (2, 1, 3, 1)
    packed = pack([sequence(text_timesteps(ids), VOCAB) for ids in texts], length=8)
    torch.testing.assert_close(gato(padded).values, gato(packed).values)
    assert VOCAB.separator not in gato.batch_of(padded).inputs.ids


def batched(**changes):
    return {name: tensor[None] for name, tensor in example(**changes).items()}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mission": torch.rand(2, 4, 1)}, "mission must be ids of shape"),
        ({"mission": torch.full((2, 4, 1), 10**6)}, "mission holds ids from 1000000"),
        ({"mission": torch.full((2, 4, 1), -2)}, "padding is -1"),
        ({"mission": torch.tensor([[-1, 3]] * 2)[..., None]}, "mission: padding"),
        ({"image": torch.zeros(2, 6, 768, dtype=torch.uint8)}, "give .*rows, columns"),
        ({"image": torch.zeros(2, 4, 12, dtype=torch.uint8)}, "16x16x3 = 768 channels, got 12"),
        ({"action": torch.zeros(3, 1, 1, dtype=torch.int64)}, "agree in batch and timesteps"),
        (
            {
                "mission": torch.tensor([[-1], [3]])[..., None],
                "action": torch.tensor([[-1], [3]])[..., None],
            },
            "timesteps of padding must come after",
        ),
    ],
)
def test_tensors_that_are_no_batch_are_refused(gato, changes, named):
    with pytest.raises(ValueError, match=named):
        gato(batched(**changes))


def test_examples_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="the same keys"):
        collate([example(), {"mission": torch.arange(4).view(1, 4, 1)}])
    with pytest.raises(ValueError, match="differ in their timesteps"):
        collate([example(action=torch.zeros(3, 1, 1, dtype=torch.int64))])
    with pytest.raises(ValueError, match="as many patches each"):
        other = example(image=torch.zeros(2, 4, 768, dtype=torch.uint8))
        collate([example(), other])
