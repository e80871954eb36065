"""Every picture file becomes the pixels that its owner saw, or is refused in one line."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mugato.data.pictures import read_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(256, size=(6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(256, size=(6, 9), dtype=np.uint8)


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(np.float64) / 255
    return color * share + 255 * (1 - share)


ALPHA = RNG.integers(256, size=(6, 9), dtype=np.uint8)
WIDE = RNG.integers(65536, size=(6, 9), dtype=np.uint16)
UNIT = RNG.random((6, 9), dtype=np.float32)
CASES = {
    "rgb": (file(Image.fromarray(RGB)), RGB),
    "grey": (file(Image.fromarray(GREY)), three(GREY)),
    "bmp": (file(Image.fromarray(RGB), "BMP"), RGB),
    "webp": (file(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "tiff": (file(Image.fromarray(RGB), "TIFF"), RGB),
    "grey 16 bit": (file(Image.fromarray(WIDE)), three(WIDE / 257)),
    "grey 16 bit tiff": (file(Image.fromarray(WIDE), "TIFF"), three(WIDE / 257)),
    "grey 32 bit tiff of 8": (file(Image.fromarray(GREY.astype(np.int32)), "TIFF"), three(GREY)),
    "grey 32 bit of 16": (file(Image.fromarray(WIDE.astype(np.int32)), "TIFF"), three(WIDE / 257)),
    "float tiff": (file(Image.fromarray(UNIT), "TIFF"), three(UNIT * 255)),
    "float tiff of 255": (file(Image.fromarray(GREY.astype(np.float32)), "TIFF"), three(GREY)),
    "mask": (file(Image.fromarray(GREY > 99)), three((GREY > 99) * 255)),
    "alpha": (file(Image.fromarray(np.dstack([RGB, ALPHA]))), over_white(RGB, ALPHA)),
    "grey and alpha": (
        file(Image.fromarray(np.dstack([GREY, ALPHA]), "LA")), over_white(three(GREY), ALPHA)
    ),
    "palette": (file(Image.fromarray(three(GREY // 64 * 64)).quantize(8)), three(GREY // 64 * 64)),
    "cmyk": (
        file(Image.fromarray(255 - np.dstack([RGB, np.full_like(GREY, 255)]), "CMYK"), "TIFF"), RGB
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_mode_gives_what_was_seen(name):
    data, expected = CASES[name]
    np.testing.assert_allclose(read_picture(data, name), expected, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation):
    """The eight ways of EXIF, written out: what is stored, turned into what was seen."""
    turned = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1), 7: np.rot90(RGB, 2).transpose(1, 0, 2), 8: np.rot90(RGB),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file(Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(read_picture(data, "photo"), turned[orientation])


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "I"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_any_picture_becomes_a_square_within_its_range(size, mode, seed):
    rng = np.random.default_rng(seed)
    grey = Image.fromarray(rng.integers(256, size=size[::-1], dtype=np.uint8))
    image = (
        grey.convert(mode) if mode != "I;16" else Image.fromarray(np.asarray(grey, np.uint16) * 257)
    )
    kind = "TIFF" if mode in ("CMYK", "F", "I") else "PNG"
    picture = read_picture(file(image, kind), "it", size_px=8)
    assert picture.shape == (8, 8, 3) and picture.dtype == np.uint8
    if mode in ("L", "RGB", "I;16"):
        values = np.asarray(grey)
        assert values.min() <= picture.min() and picture.max() <= values.max()


WHOLE = file(Image.fromarray(RNG.integers(256, size=(64, 64, 3), dtype=np.uint8)))
JPEG = file(Image.fromarray(RNG.integers(256, size=(64, 64, 3), dtype=np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a cat", "is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read"),
        (JPEG[: len(JPEG) // 2], "cannot be read"),
        (file(Image.new("1", (30_000, 30_000))), "cannot be read.*decompression bomb"),
        (file(Image.new("1", (10_000, 10_000))), "cannot be read.*decompression bomb"),
        (file(Image.fromarray(UNIT * 1000), "TIFF"), "values from .* not of 0 to 255"),
        (file(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"), "from nan to nan"),
        (file(Image.fromarray(WIDE.astype(np.int32) * -1), "TIFF"), "not of 0 to 65535"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(data, message):
    with pytest.raises(ValueError, match=f"^folder/cat.png .*{message}") as caught:
        read_picture(data, "folder/cat.png")
    assert "\n" not in str(caught.value)


@given(place=st.floats(0, 0.999), value=st.integers(0, 255), jpeg=st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_flipped_byte_gives_a_picture_or_one_line(place, value, jpeg):
    data = bytearray(JPEG if jpeg else WHOLE)
    data[int(place * len(data))] = value
    try:
        assert read_picture(bytes(data), "cat.png").dtype == np.uint8
    except ValueError as error:
        assert str(error).startswith("cat.png ") and "\n" not in str(error)
