"""Pictures of every layout and range become the right patches and come back."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mugato.spec import Leaf, spec_of
from mugato.tokens.images import ImageTokenizer, from_pixels, num_pictures, to_pixels
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer

SHAPES = [
    (16, 32), (16, 32, 1), (16, 32, 3), (3, 16, 32), (1, 16, 32), (16, 32, 4), (4, 16, 32),
    (2, 16, 32, 3), (5, 16, 32, 1), (2, 3, 16, 32),
]  # fmt: skip


def leaf_of(shape: tuple[int, ...], low: int = 0, high: int = 255) -> Leaf:
    return spec_of(spaces.Box(low, high, shape, np.uint8), spaces.Discrete(2)).observation


@given(
    shape=st.sampled_from(SHAPES),
    bounds=st.tuples(st.integers(0, 255), st.integers(0, 255)).map(sorted),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_pictures_of_any_layout_and_range_come_back(shape, bounds, seed):
    low, high = bounds
    leaf = leaf_of(shape, low, high)
    values = np.random.default_rng(seed).integers(low, high, (2, *shape), np.uint8, endpoint=True)
    pixels = to_pixels(leaf, values)
    assert pixels.shape[:4] == (2, num_pictures(leaf), 16, 32)
    np.testing.assert_array_equal(from_pixels(leaf, pixels), values)


@pytest.mark.parametrize("shape", [(84, 84, 4), (4, 84, 84)])
def test_stacked_frames_are_cut_one_after_the_other(shape):
    leaf, tokenizer = leaf_of(shape), Tokenizer(text=TextTokenizer.paper())
    values = np.random.default_rng(0).integers(256, size=(3, *shape), dtype=np.uint8)
    tokens, lengths = tokenizer.encode(leaf, values, is_action=False)
    frames = np.moveaxis(values, -1, 1) if shape[-1] == 4 else values
    alone = [ImageTokenizer().encode(frames[:, i]) for i in range(4)]
    np.testing.assert_array_equal(tokens, np.concatenate(alone, axis=1))
    assert lengths.tolist() == [tokenizer.num_tokens(leaf)] * 3 == [4 * 36] * 3


def test_a_map_of_zeros_and_ones_looks_like_one_of_black_and_white():
    values = np.random.default_rng(0).integers(2, size=(3, 32, 32), dtype=np.uint8)
    tokenizer = Tokenizer(text=TextTokenizer.paper())
    dim, _ = tokenizer.encode(leaf_of((32, 32), 0, 1), values, is_action=False)
    bright, _ = tokenizer.encode(leaf_of((32, 32)), values * 255, is_action=False)
    np.testing.assert_array_equal(dim, bright)
