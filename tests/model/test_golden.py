"""The parts of the model against formulas written out by themselves, and the published sizes."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mugato.model.attention import (
    RelativeAttention,
    RotaryAttention,
    rotary_angles,
    rotate,
    sinusoids,
)
from mugato.model.attention_mask import AttentionMask
from mugato.model.config import GatoConfig
from mugato.model.embedding import ResidualEmbedding
from mugato.model.gato import Gato
from mugato.model.recurrent import scan
from mugato.model.transformer import Block, FeedForward
from tests.agents import tiny_config
from tests.tokens.test_sequence import TOKENIZER


def config(**changes):
    return tiny_config(TOKENIZER.vocab, **changes)


def one_segment(length, rows=2):
    positions = torch.arange(length).expand(rows, -1)
    return AttentionMask.of_rows(positions, torch.ones_like(positions), 64, torch.float32)


def randomize(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5)
    return module.eval()


@pytest.mark.parametrize(
    ("name", "published", "digits"),
    [("small", 79e6, 2), ("baseline", 364e6, 3), ("large", 1.18e9, 3)],
)
def test_published_sizes(name, published, digits):
    with torch.device("meta"):
        model = Gato(getattr(GatoConfig, name)())
    assert all(p.is_meta for p in model.parameters())  # nothing of that size was allocated
    assert float(f"{model.num_parameters:.{digits}g}") == published
    assert model.embedding.table.num_embeddings == 33_025
    block = sum(p.numel() for p in model.patch_embedding.parameters())
    before_block = {"small": 78.0, "baseline": 363.6, "large": 1177.2}[name]
    assert (model.num_parameters - block) / 1e6 == pytest.approx(before_block, abs=0.06)


@torch.no_grad()
def test_relative_attention_is_transformer_xls():
    c = config(sequence_model="transformer-xl", bias=True)
    attention, mask = randomize(RelativeAttention(c)), one_segment(9)
    x = torch.randn(2, 9, c.width)
    fast = attention(x, mask, attention.encode(mask))
    q, k, v = attention.heads.split(x)
    slow = torch.zeros_like(q)
    for i in range(9):
        scores = []
        for j in range(i + 1):
            r = attention.relative(sinusoids(torch.tensor([i - j]), c.width))[0]
            r = r.view(c.num_heads, c.head_size)
            content = (q[:, :, i] + attention.content_bias[:, 0]) * k[:, :, j]
            position = (q[:, :, i] + attention.position_bias[:, 0]) * r
            scores.append((content + position).sum(-1) / math.sqrt(c.head_size))
        weights = torch.softmax(torch.stack(scores, -1), -1)
        slow[:, :, i] = (weights[..., None] * v[:, :, : i + 1]).sum(2)
    torch.testing.assert_close(fast, attention.heads.join(slow), rtol=1e-4, atol=1e-5)


def test_sinusoids_are_transformer_xls():
    inverse = 1 / (10000 ** (torch.arange(0.0, 8, 2.0) / 8))
    expected = torch.outer(torch.arange(5.0), inverse)
    expected = torch.cat([expected.sin(), expected.cos()], dim=-1)
    torch.testing.assert_close(sinusoids(torch.arange(5), 8), expected)


@torch.no_grad()
def test_rotary_attention_against_torchs_own():
    c = config(sequence_model="rotary", bias=False)
    attention, mask = randomize(RotaryAttention(c)), one_segment(9)
    x = torch.randn(2, 9, c.width)
    q, k, v = attention.heads.split(x)
    q, k = (_turned(t) for t in (q, k))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    actual = attention(x, mask, attention.encode(mask))
    torch.testing.assert_close(actual, attention.heads.join(expected), rtol=1e-4, atol=1e-5)


def _turned(x):
    """Rotary positions as a product with complex numbers of length one."""
    half = x.shape[-1] // 2
    z = torch.complex(x[..., :half], x[..., half:])
    frequencies = 10_000.0 ** (-torch.arange(half) / half)
    angles = torch.arange(x.shape[2])[:, None] * frequencies
    z = z * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([z.real, z.imag], dim=-1)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 16)
    positions = torch.tensor([[3, 10], [103, 110]])
    angles = rotary_angles(positions, 16)
    turned_q, turned_k = (rotate(t.expand(2, 1, 2, 16), angles) for t in (q, k))
    near, far = (turned_q @ turned_k.transpose(-1, -2))[:, 0]
    torch.testing.assert_close(near, far, rtol=1e-3, atol=1e-4)


def test_geglu_against_numpy():
    layer = randomize(FeedForward(config(bias=True)))
    x = torch.randn(5, 32)
    up, down = (w.detach().numpy().astype(np.float64) for w in (layer.up.weight, layer.down.weight))
    hidden = x.numpy() @ up.T + layer.up.bias.detach().numpy()
    gate, value = hidden[:, :32], hidden[:, 32:]
    erf = np.vectorize(math.erf)
    activated = gate * 0.5 * (1 + erf(gate / math.sqrt(2))) * value
    expected = activated @ down.T + layer.down.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_blocks_are_pre_norm():
    c = config()
    block = randomize(Block(c, nn.Identity()))
    x = torch.randn(2, 5, 32)
    y = x + F.layer_norm(x, (32,), block.norm_1.weight, block.norm_1.bias)
    y = y + block.feed_forward(F.layer_norm(y, (32,), block.norm_2.weight, block.norm_2.bias))
    torch.testing.assert_close(block(x), y)


@torch.no_grad()
@pytest.mark.parametrize(
    ("reduced", "groups", "num_blocks"), [(None, 32, 1), (4, 32, 1), (4, 8, 3), (None, 1, 2)]
)
def test_the_resnet_blocks_against_torchs_convolutions(reduced, groups, num_blocks):
    sizes = {"reduced": reduced, "groups": groups, "num_blocks": num_blocks}
    block = randomize(ResidualEmbedding(patch_px=16, channels=32, width=8, **sizes))
    patches = torch.randint(0, 256, (6, 768), dtype=torch.uint8)
    images = patches.view(6, 16, 16, 3).permute(0, 3, 1, 2).float() / 127.5 - 1
    # The linear layer's input is (row, column, channel) within each 4x4 square.
    kernel = block.widen.weight.view(32, 4, 4, 3).permute(0, 3, 1, 2)
    x = F.conv2d(images / 4, kernel, block.widen.bias, stride=4)
    w = block.state_dict()
    for prefix in ("", *(f"more.{i}." for i in range(num_blocks - 1))):
        norms, convolutions = (
            [[w[f"{prefix}{kind}_{i}.{part}"] for part in ("weight", "bias")] for i in (1, 2)]
            for kind in ("norm", "conv")
        )
        y = F.conv2d(F.gelu(F.group_norm(x, groups, *norms[0])), *convolutions[0], padding=1)
        x = x + F.conv2d(F.gelu(F.group_norm(y, groups, *norms[1])), *convolutions[1], padding=1)
    if reduced:
        kernel = block.narrow.weight[..., None, None]
        x = F.conv2d(x, kernel, block.narrow.bias)
    places = x.permute(0, 2, 3, 1).reshape(6, -1)
    expected = F.linear(places, block.reduce.weight, block.reduce.bias)
    torch.testing.assert_close(block(patches), expected, rtol=1e-4, atol=1e-4)


def test_the_recurrence_against_one_step_at_a_time():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 20, 4)
    fading = -torch.rand(2, 3, 20)
    starts = torch.rand(2, 20) < 0.1
    memory = torch.randn(2, 3, 4, 4)
    fast, last = scan(q, k, v, fading, starts, memory)
    slow = []
    for t in range(20):
        memory = memory * (~starts[:, t])[:, None, None, None]
        memory = fading[:, :, t, None, None].exp() * memory
        memory = memory + k[:, :, t, :, None] * v[:, :, t, None, :]
        slow.append((q[:, :, t, None, :] @ memory)[:, :, 0])
    torch.testing.assert_close(fast, torch.stack(slow, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, memory, rtol=1e-4, atol=1e-5)
