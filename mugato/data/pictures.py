"""Picture files to pixels, the one way for every source (Reed et al. 2022, §2.1).

What a file holds becomes red, green and blue of 0 to 255 by declared rules: it is turned as its
EXIF orientation says; transparency is laid over white; grey of 16 bits is scaled, not cut; numbers
with a fraction are of 0 to 1, or of 0 to 255 where one is greater than 1. Sources of text bring
pictures to a square by the mean over area (Pillow's BOX filter): exact for whole factors, never
outside the range of the original's pixels.
"""

import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from mugato.system.errors import one_line
from mugato.system.files import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Picture = UInt8[ndarray, "height width 3"]

# What is read, by ending; others that Pillow knows are not pictures, or run a program.
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif",
    ".jp2", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def write_gif(path: Path, pictures: "Iterable[PilImage]", *, frame_ms: int) -> None:
    """Write a moving picture that goes round, whole or not at all."""
    first, *rest = pictures
    options = {"save_all": True, "append_images": rest, "duration": frame_ms, "loop": 0}
    write_whole(path, lambda beside: first.save(beside, format="GIF", **options))


def read_picture(data: bytes, where: str, *, size_px: int | None = None) -> Picture:
    """Decode a picture file, into a square of `size_px` pixels a side where that is given.

    Raises:
        ValueError: for a damaged file, one that is no picture, one so large that it may be made to
            do harm, or values that are no pixels; `where` begins the message.
    """
    image = rgb(open_picture(data, where), where)
    return np.asarray(image).copy() if size_px is None else square(image, size_px=size_px)


def open_picture(data: bytes, where: str) -> "PilImage":
    """Read all of a file, turned upright, in whatever mode it is. Raises as `read_picture`."""
    from PIL import Image, ImageOps

    if not data:
        raise ValueError(f"{where} is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's remarks only this one refuses
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()
            formats = [name for name in FORMATS if name in Image.OPEN]  # not all are built in
            image = Image.open(BytesIO(data), formats=formats)
            image.load()
            return ImageOps.exif_transpose(image)
    except Image.UnidentifiedImageError:
        raise ValueError(f"{where} is no picture: {data[:16]!r}...") from None
    except Exception as error:  # each format's reader raises what it likes
        raise ValueError(f"{where} cannot be read as a picture: {one_line(error)}") from error


def rgb(image: "PilImage", where: str) -> "PilImage":
    """Bring a Pillow image to red, green and blue. Raises as `read_picture`."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_pixels(np.asarray(image), where)).convert("RGB")
    try:
        if not image.has_transparency_data:
            return image.convert("RGB")
        over_white = Image.new("RGBA", image.size, "white")
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{where} has colors that are not read: {one_line(error)}") from error


def square(image: "PilImage", *, size_px: int) -> Picture:
    """Bring an RGB image to a square of `size_px` pixels a side."""
    from PIL import Image

    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")
    return np.asarray(image.resize((size_px, size_px), Image.Resampling.BOX)).copy()


def _pixels(values: ndarray, where: str) -> UInt8[ndarray, "height width"]:
    """Scale grey of more than 8 bits."""
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    is_float = values.dtype.kind == "f"
    greatest = 255 if is_float else 65535
    if not 0 <= low <= high <= greatest:  # NaN is not
        raise ValueError(f"{where} has values from {low:g} to {high:g}, not of 0 to {greatest}")
    if is_float:
        factor = 255.0 if high <= 1 else 1.0
    else:  # 32-bit files hold 8 bits, too
        factor = 1 / 257 if values.dtype == np.uint16 or high > 255 else 1.0
    return np.rint(values * factor).astype(np.uint8)
