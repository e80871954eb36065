"""Picture files to small RGB arrays, by one declared rule.

Transparency is laid over white, then the picture is brought to a square by the mean over area
(Pillow's BOX filter): exact for whole factors, never outside the range of the original's pixels.
"""

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from mugato.spec import Leaf


def read_picture(data: bytes, *, size_px: int) -> UInt8[ndarray, "height width 3"]:
    """Decode an image file into a square of `size_px` pixels a side."""
    from PIL import Image

    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")
    picture = Image.open(BytesIO(data)).convert("RGBA")
    over_white = Image.new("RGBA", picture.size, "white")
    over_white.alpha_composite(picture)
    resized = over_white.convert("RGB").resize((size_px, size_px), Image.Resampling.BOX)
    return np.asarray(resized).copy()


def picture_leaf(size_px: int) -> Leaf:
    """The leaf of what `read_picture` gives."""
    return Leaf(kind="image", shape=(size_px, size_px, 3), dtype="uint8")
