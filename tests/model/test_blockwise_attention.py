"""Attention by blocks against scores written out, on packed rows of every kind."""

import math

import pytest
import torch

from mugato.model import attention_mask as mask_module
from mugato.model.attention import attend
from mugato.model.attention_mask import AttentionMask, pick
from mugato.model.blockwise_attention import blockwise_attention

LENGTH, HEADS, HEAD = 300, 3, 8  # two whole blocks and a piece


def rows(*lengths_of_rows):
    """Positions and segments of rows packed with segments of these lengths, then padding."""
    positions, segments = torch.zeros(2, len(lengths_of_rows), LENGTH, dtype=torch.int64)
    for row, lengths in enumerate(lengths_of_rows):
        at = 0
        for number, length in enumerate(lengths, start=1):
            positions[row, at : at + length] = torch.arange(length)
            segments[row, at : at + length] = number
            at += length
    return positions, segments


PACKED = {
    "one segment": rows([LENGTH], [LENGTH]),
    "padding behind": rows([250], [LENGTH]),
    "short segments": rows([10] * 30, [37, 100, 1, 1, 90, 40]),
    "one long, many short": rows([LENGTH], [20] * 15),
    "nothing in a row": rows([], [5, 280]),
}


def plain(q, k, v, mask, by_distance):
    """Compute the whole table of scores at once."""
    scores = q @ k.transpose(-1, -2)
    if by_distance is not None:
        p, r = by_distance
        scores = scores + pick(p @ r.transpose(-1, -2), mask.distances)
    scores = (scores / math.sqrt(HEAD)).masked_fill(~mask.visible, -30000.0)
    return torch.softmax(scores, dim=-1) @ v


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("max_distance", [LENGTH, 50])
@pytest.mark.parametrize("packed", PACKED)
def test_blocks_equal_the_plain_way(packed, max_distance, relative):
    torch.manual_seed(0)
    positions, segments = PACKED[packed]
    mask = AttentionMask.of_rows(positions, segments, max_distance, torch.float32)
    assert mask.aligned
    q, k, v, p = torch.randn(4, 2, HEADS, LENGTH, HEAD, requires_grad=True).unbind()
    r = torch.randn(HEADS, LENGTH + 1, HEAD, requires_grad=True)
    by_distance = (p, r) if relative else None
    real = (segments > 0)[:, None, :, None]
    results = []
    for way in (blockwise_attention, plain):
        of = mask.blocks if way is blockwise_attention else mask
        out = (
            way(q, k, v, of, by_distance=by_distance)
            if way is blockwise_attention
            else plain(q, k, v, of, by_distance)
        )
        out = out * real  # what padding computes is nobody's affair
        inputs = (q, k, v, p, r) if relative else (q, k, v)
        grads = torch.autograd.grad(out.square().sum(), inputs)
        results.append((out, *grads))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


def test_blocks_leave_out_the_keys_that_none_of_their_queries_sees():
    positions, segments = rows([128, 172])
    blocks = AttentionMask.of_rows(positions, segments, LENGTH, torch.float32).blocks
    assert [(b.keys.start, b.keys.stop) for b in blocks] == [(0, 128), (128, 256), (128, 300)]
    # One unbroken segment: only a block's own keys have to be hidden from some of its queries.
    positions, segments = rows([LENGTH])
    blocks = AttentionMask.of_rows(positions, segments, LENGTH, torch.float32).blocks
    assert [b.bias.shape[-1] for b in blocks] == [128, 128, 44]
    assert mask_module.BLOCK == 128


def test_paddings_between_tokens_are_no_aligned_rows():
    """`pad` leaves gaps: there, distances are not those of places, and all is scored at once."""
    positions = torch.tensor([[0, 1, 2, 0, 0, 3, 4]])
    segments = torch.tensor([[1, 1, 1, 0, 0, 1, 1]])
    mask = AttentionMask.of_rows(positions, segments, 16, torch.float32)
    assert not mask.aligned
    q, k, v = torch.randn(3, 1, 2, 7, 8)
    real = [0, 1, 2, 5, 6]
    together = AttentionMask.of_rows(positions[:, real], segments[:, real], 16, torch.float32)
    expected = attend(q[:, :, real], k[:, :, real], v[:, :, real], together)
    torch.testing.assert_close(attend(q, k, v, mask)[:, :, real], expected)


def test_bf16_is_as_close_as_its_digits():
    torch.manual_seed(0)
    positions, segments = PACKED["short segments"]
    q, k, v = torch.randn(3, 2, HEADS, LENGTH, HEAD)
    exact = plain(q, k, v, AttentionMask.of_rows(positions, segments, LENGTH, torch.float32), None)
    coarse = AttentionMask.of_rows(positions, segments, LENGTH, torch.bfloat16)
    fast = blockwise_attention(*(x.bfloat16() for x in (q, k, v)), coarse.blocks).float()
    real = segments > 0
    difference = (fast - exact).transpose(1, 2)[real].abs()
    assert difference.mean() < 0.01 and difference.max() < 0.1
