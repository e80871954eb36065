"""The ring's quick ways against the plain ones."""

import pytest
import torch

from mugato.model.attention_mask import AttentionMask
from mugato.model.kv_cache import RelativePositionTable
from mugato.model.transformer import Transformer
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER

HEADS, HEAD_SIZE, MAX_DISTANCE, LENGTH = 3, 8, 20, 26


def held(ends, length, real):
    """Positions in the places of a ring whose rows were read up to `end`, less some padding."""
    places = torch.arange(length)
    rows = []
    for end, padding in zip(ends, real, strict=True):
        last = end - padding
        position = last - (last - places) % length
        rows.append(position.where(position >= 0, -1))
    return torch.stack(rows)


@pytest.mark.parametrize("queries", [1, 4, 7])
@pytest.mark.parametrize("ends", [(12,), (19,), (25,), (26,), (27, 27), (40, 300, 7), (51, 52, 53)])
@pytest.mark.parametrize("padding", [0, 2])
def test_sliced_scores_equal_picked_ones(queries, ends, padding):
    padding = min(padding, queries - 1)
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(HEADS, MAX_DISTANCE, HEAD_SIZE, generator=generator)
    table = RelativePositionTable.of(projected, max_length=LENGTH, dtype=torch.float32)
    assert table.fits(queries) and not table.fits(8)
    p = torch.randn(len(ends), HEADS, queries, HEAD_SIZE, generator=generator)
    positions = torch.tensor(ends)[:, None] - torch.arange(queries - 1, -1, -1)
    keys = held(ends, LENGTH, [padding] * len(ends))
    mask = AttentionMask(
        positions=positions, key_positions=keys, max_distance=MAX_DISTANCE, dtype=torch.float32
    )
    sliced = table.sliced(p, ends, LENGTH)
    real = slice(0, queries - padding)  # what padding sees does not matter
    seen = mask.visible.expand_as(sliced)[:, :, real]
    expected = table.picked(p, mask)[:, :, real]
    torch.testing.assert_close(sliced[:, :, real][seen], expected[seen])
    assert (sliced[:, :, real][~seen] < -1e4).all() and seen.any()


def test_a_growing_rings_scores_are_those_of_the_whole():
    projected = torch.randn(HEADS, MAX_DISTANCE, HEAD_SIZE)
    table = RelativePositionTable.of(projected, max_length=LENGTH, dtype=torch.float32)
    p = torch.randn(2, HEADS, 3, HEAD_SIZE)
    whole = table.sliced(p, (9, 4), LENGTH)
    torch.testing.assert_close(table.sliced(p, (9, 4), 13), whole[..., :13])


@torch.no_grad()
def test_memory_beyond_the_context_is_seen():
    torch.manual_seed(0)
    changes = {"sequence_model": "transformer-xl"}
    config = tiny_config(TOKENIZER.vocab, context_length=16, memory_length=32, **changes)
    model = Transformer(config).eval()
    longer = Transformer(tiny_config(TOKENIZER.vocab, context_length=48, **changes)).eval()
    longer.load_state_dict(model.state_dict())
    x, positions = torch.randn(1, 120, 32), torch.arange(120)[None]
    state, outputs = model.init_state(1, 16 + 5), []
    for at in range(0, 120, 5):
        cut = slice(at, at + 5)
        y, state = model(x[:, cut], positions[:, cut], torch.ones(1, 5).long(), state)
        outputs.append(y)
    expected = longer(x, positions, torch.ones_like(positions))[0]
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, atol=1e-4, rtol=0)
