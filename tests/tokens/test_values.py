"""Continuous, discrete and image tokenisers: both ends of every range, and faults of others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mugato.tokens.images import ImageTokenizer
from mugato.tokens.values import (
    BoundedValueTokenizer,
    ContinuousValueTokenizer,
    DiscreteValueTokenizer,
    UniformBins,
)
from mugato.tokens.vocab import Vocab


def test_one_belongs_to_the_last_bin_not_to_the_next_range():
    assert UniformBins().encode(np.array([1.0])) == 1023
    assert ContinuousValueTokenizer().encode(np.array([256.0])) == 1023
    assert Vocab().continuous[1023] == 33023


def test_mu_law_agrees_with_the_papers_formula():
    values = np.linspace(-256, 256, 1001)
    squashed = np.sign(values) * np.log(np.abs(values) * 100 + 1) / np.log(256 * 100 + 1)
    expected = np.minimum(np.floor((squashed + 1) * 512), 1023)
    # Values within rounding of a bin's edge may fall on either side.
    assert np.abs(ContinuousValueTokenizer().encode(values) - expected).max() <= 1
    assert (ContinuousValueTokenizer().encode(values) == expected).mean() > 0.99


@given(st.floats(-256, 256))
def test_encoding_depends_on_the_value_alone_and_decodes_within_half_a_bin(value):
    tokenizer = ContinuousValueTokenizer()
    alone = tokenizer.encode(np.array([value]))
    beside_others = tokenizer.encode(np.array([value, -200.0, 77.0]))[:1]
    assert alone == beside_others
    scale = np.log(256 * 100 + 1)

    def squash(x):
        return np.sign(x) * np.log1p(np.abs(x) * 100) / scale

    assert abs(squash(tokenizer.decode(alone)) - squash(np.array([value])))[0] <= 1 / 1024 + 1e-9


@given(st.floats(-5, 5), st.floats(0.1, 9))
def test_bounded_values_decode_within_their_bounds(low, width):
    tokenizer = BoundedValueTokenizer(low=(low,), high=(low + width,))
    decoded = tokenizer.decode(np.array([[0], [1023]]))
    assert low <= decoded.min() and decoded.max() <= low + width
    assert tokenizer.encode(decoded).ravel().tolist() == [0, 1023]


def test_bin_centres_are_returned_not_left_edges():
    assert UniformBins(num_bins=2).decode(np.array([0, 1])).tolist() == [-0.5, 0.5]


@pytest.mark.parametrize(
    "tokenizer",
    [
        UniformBins(),
        ContinuousValueTokenizer(),
        ContinuousValueTokenizer(center=(1.0,), scale=(2.0,)),
        BoundedValueTokenizer(low=(-1.0,), high=(1.0,)),
        DiscreteValueTokenizer(low=(0.0,), high=(3.0,)),
    ],
)
def test_nan_is_refused_and_nothing_else_leaves_the_range(tokenizer):
    with pytest.raises(
        ValueError, match=r"(NaN cannot become a token|must be numbers), got \[nan\]"
    ):
        tokenizer.encode(np.array([np.nan]))
    if not isinstance(tokenizer, DiscreteValueTokenizer):
        ends = tokenizer.encode(np.array([[-np.inf], [-1e308], [1e308], [np.inf]])).ravel()
        assert ends.tolist() == [0, 0, 1023, 1023]


@pytest.mark.parametrize("bounds", [(-1e308, 1e308), (-np.inf, 0.0), (0.0, np.inf), (np.nan, 0.0)])
def test_bounds_that_no_bins_divide_are_refused(bounds):
    with pytest.raises(ValueError, match=r"bounds from .* to .* are not a finite distance apart"):
        BoundedValueTokenizer(low=(0.0, bounds[0]), high=(1.0, bounds[1]))


def test_discrete_values_outside_their_range_are_refused():
    with pytest.raises(ValueError, match=r"5\.\.5 outside \[0, 4\]"):
        DiscreteValueTokenizer(low=(0.0,), high=(4.0,)).encode(np.array([[5]]))


def test_a_constant_patch_keeps_its_level():
    dark, bright = np.full((1, 16, 16, 3), 10, np.uint8), np.full((1, 16, 16, 3), 200, np.uint8)
    assert (ImageTokenizer().encode(dark) == 10).all()
    assert (ImageTokenizer().encode(bright) == 200).all()


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (56, 56), (210, 160)])
def test_images_of_any_size_come_back(size):
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    tokenizer = ImageTokenizer()
    patches = tokenizer.encode(images)
    assert patches.shape == (2, tokenizer.num_patches(size), 768)
    assert len(tokenizer.intervals(size)) == patches.shape[1]
    np.testing.assert_array_equal(tokenizer.decode(patches, size), images)


@pytest.mark.parametrize("size", [(17, 16), (64, 80), (210, 160), (480, 640), (16, 1000)])
@pytest.mark.parametrize("max_patches", [1, 4, 16])
def test_shrunken_images_fit(size, max_patches):
    tokenizer = ImageTokenizer(max_patches=max_patches)
    assert tokenizer.num_patches(size) <= max_patches
    patches = tokenizer.encode(np.zeros((1, *size, 3), np.uint8))
    assert patches.shape[1] == tokenizer.num_patches(size)


def test_grey_becomes_three_equal_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    patches = ImageTokenizer().encode(grey).reshape(16, 16, 3)
    assert (patches == grey[0, :, :, None]).all()
