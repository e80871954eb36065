"""What environments draw becomes the same picture, whatever type it has, or is refused."""

import numpy as np
import pytest

from mugato.evaluation.video import rgb_frame

RGB = np.random.default_rng(0).integers(256, size=(8, 6, 3), dtype=np.uint8)
ALPHA = np.full((8, 6, 1), 255, np.uint8)


@pytest.mark.parametrize(
    "frame",
    [
        RGB,
        RGB / 255,
        (RGB / 255).astype(np.float32),
        RGB.astype(np.float64),
        RGB.astype(np.int64),
        np.concatenate([RGB, ALPHA], axis=2),
    ],
)
def test_every_type_gives_the_same_picture(frame):
    seen = rgb_frame(frame)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen, RGB)


@pytest.mark.parametrize("frame", [RGB[..., 0], RGB[..., :1], RGB[..., 0] / 255])
def test_grey_is_three_equal_channels(frame):
    np.testing.assert_array_equal(rgb_frame(frame), np.repeat(RGB[..., :1], 3, axis=2))


def test_a_mask_is_black_and_white():
    assert rgb_frame(np.eye(4, dtype=bool))[:2, :2, 0].tolist() == [[255, 0], [0, 255]]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (RGB * 256.0, "values from .* not pixels of 0 to 255"),
        (np.full((4, 4, 3), np.nan), "values from nan to nan"),
        (-RGB.astype(np.int64) - 1, "not pixels"),
        (RGB[..., :2], r"shape \(8, 6, 2\), which is no picture"),
        (np.zeros(3), r"shape \(3,\)"),
    ],
)
def test_what_is_no_picture_is_refused(frame, message):
    with pytest.raises(ValueError, match=message):
        rgb_frame(frame)
