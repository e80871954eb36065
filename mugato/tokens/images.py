"""Images to raster-ordered 16x16 patches and back (Reed et al. 2022, §2.1, App. C.3).

Pixels stay uint8 here: the model scales them, on the accelerator. An image whose sides are not
multiples of 16 is padded with black at the bottom and the right; one with more than `max_patches`
patches is first shrunk by area averaging, its proportions kept. Grey becomes three equal channels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Int, Num, UInt8
from PIL import Image

from mugato.spec import Leaf

NUM_LEVELS = 128
MAX_LEVELS = 2**15 - 1  # places are kept in 16 bits


@dataclass(frozen=True, kw_only=True)
class ImageTokenizer:
    """Cut images into patches.

    Attributes:
        patch_px: side of a patch.
        max_patches: shrink images that would need more; None leaves every image at its size.
        num_levels: levels that a patch's place in its image is told in (App. C.3).
    """

    patch_px: int = 16
    max_patches: int | None = None
    num_levels: int = NUM_LEVELS

    def encode(self, images: UInt8[np.ndarray, "t ..."]) -> UInt8[np.ndarray, "t patches channels"]:
        """Cut (t, height, width[, 1 or 3]) images into (t, patches, patch_px² · 3).

        Raises:
            ValueError: for arrays of another shape.

        >>> ImageTokenizer().encode(np.zeros((2, 56, 64, 3), np.uint8)).shape
        (2, 16, 768)
        """
        images = _to_rgb(images)
        height, width = self.resized(images.shape[1:3])
        if (height, width) != images.shape[1:3]:
            images = np.stack([_shrink(image, height, width) for image in images])
        p = self.patch_px
        if height % p or width % p:
            images = np.pad(images, ((0, 0), (0, -height % p), (0, -width % p), (0, 0)))
        return rearrange(images, "t (h p) (w q) c -> t (h w) (p q c)", p=p, q=p)

    def decode(
        self, patches: UInt8[np.ndarray, "t patches channels"], size: tuple[int, int]
    ) -> UInt8[np.ndarray, "t height width 3"]:
        """Put patches of images of (height, width) `size` together (at their shrunken size).

        >>> images = np.arange(32 * 20 * 3, dtype=np.uint8).reshape(1, 32, 20, 3)
        >>> tokenizer = ImageTokenizer()
        >>> bool((tokenizer.decode(tokenizer.encode(images), (32, 20)) == images).all())
        True
        """
        height, width = self.resized(size)
        p = self.patch_px
        w = -(-width // p)
        images = rearrange(patches, "t (h w) (p q c) -> t (h p) (w q) c", w=w, p=p, q=p, c=3)
        return images[:, :height, :width]

    def intervals(self, size: tuple[int, int]) -> Int[np.ndarray, "patches 4"]:
        """Return each patch's row from, to, column from, to, in levels (App. C.3).

        >>> rows = ImageTokenizer().intervals((64, 80))
        >>> rows[::5, :2].tolist()
        [[0, 32], [32, 64], [64, 96], [96, 128]]
        >>> [0, *rows[:5, 3].tolist()]
        [0, 26, 51, 77, 102, 128]
        """
        return _intervals(*self.resized(size), self.patch_px, self.num_levels)

    def num_patches(self, size: tuple[int, int]) -> int:
        """Count the tokens that an image of (height, width) `size` takes.

        >>> [ImageTokenizer(max_patches=n).num_patches((210, 160)) for n in (None, 16)]
        [140, 12]
        """
        return _patches(self.resized(size), self.patch_px)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that an image of `size` is shrunk to before it is cut."""
        p = self.patch_px
        if self.max_patches is None or _patches(size, p) <= self.max_patches:
            return size
        # The largest scale, in steps of one patch along either side, that fits.
        scales = sorted({k * p / side for side in size for k in range(1, side // p + 1)})
        smaller = [_scaled(size, scale) for scale in scales]
        fitting = [fit for fit in smaller if _patches(fit, p) <= self.max_patches]
        return fitting[-1] if fitting else _scaled(size, p / max(size))


def _patches(size: tuple[int, int], patch_px: int) -> int:
    height, width = size
    return -(-height // patch_px) * -(-width // patch_px)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, int(side * scale + 1e-6)) for side in size)  # 3*16/49*49 is under 48
    return height, width


def image_size(leaf: Leaf) -> tuple[int, int]:
    """Return the (height, width) of an image leaf's pictures."""
    shape = leaf.shape if len(leaf.shape) > 2 else (*leaf.shape, 1)
    return (shape[-2], shape[-1]) if leaf.channels_first else (shape[-3], shape[-2])


def num_pictures(leaf: Leaf) -> int:
    """Count the pictures of one value: stacked frames are several, each grey or in color.

    >>> num_pictures(Leaf(kind="image", shape=(84, 84, 4)))
    4
    """
    match leaf.shape:
        case (_, _):
            return 1
        case (first, _, last):
            channels = first if leaf.channels_first else last
            return 1 if channels in (1, 3) else channels
    return leaf.shape[0]


def to_pixels(
    leaf: Leaf, values: Num[np.ndarray, "t ..."]
) -> UInt8[np.ndarray, "t pictures height width channels"]:
    """Return the pictures of each value as pixels of 0 to 255, scaled from the leaf's bounds.

    >>> leaf = Leaf(kind="image", shape=(16, 16, 4), dtype="uint8", low=(0.0,), high=(1.0,))
    >>> pixels = to_pixels(leaf, np.ones((2, 16, 16, 4), np.uint8))
    >>> pixels.shape, pixels.max()
    ((2, 4, 16, 16, 1), np.uint8(255))
    """
    match leaf.shape:
        case (_, _):
            values = values[:, None, :, :, None]
        case (_, _, _):
            values = values if leaf.channels_first else np.moveaxis(values, -1, 1)
            one = num_pictures(leaf) == 1
            values = np.moveaxis(values, 1, -1)[:, None] if one else values[..., None]
        case _:
            values = np.moveaxis(values, 2, -1) if leaf.channels_first else values
    if not leaf.low:
        return values
    (low,), (high,) = leaf.low, leaf.high
    scaled = (values.astype(np.float64) - low) * (255 / max(high - low, 1))
    return np.rint(scaled).astype(np.uint8)


def from_pixels(
    leaf: Leaf, pixels: UInt8[np.ndarray, "t pictures height width channels"]
) -> Num[np.ndarray, "t ..."]:
    """Return values as they were before `to_pixels`; a grey one may come as three equal channels.

    >>> leaf = Leaf(kind="image", shape=(3, 16, 16), dtype="uint8", channels_first=True)
    >>> values = np.arange(768, dtype=np.uint8).reshape(1, 3, 16, 16)
    >>> bool((from_pixels(leaf, to_pixels(leaf, values)) == values).all())
    True
    """
    t, n, height, width, _ = pixels.shape
    values = pixels[..., : leaf.size // (n * height * width)]
    if leaf.low:
        (low,), (high,) = leaf.low, leaf.high
        values = np.rint(values * (max(high - low, 1) / 255) + low).astype(leaf.dtype)
    if len(leaf.shape) == 3 and n > 1 and not leaf.channels_first:
        values = np.moveaxis(values[..., 0], 1, -1)
    elif leaf.channels_first and (n == 1 or len(leaf.shape) == 4):
        values = np.moveaxis(values, -1, 2)
    return values.reshape(t, *leaf.shape)


def _to_rgb(images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be (t, height, width[, 1 or 3]), got {images.shape}")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


@lru_cache(maxsize=256)
def _intervals(height: int, width: int, patch_px: int, num_levels: int) -> np.ndarray:
    rows, columns = (_edges(side, patch_px, num_levels) for side in (height, width))
    h, w = len(rows), len(columns)
    rows = repeat(rows, "h two -> (h w) two", w=w)
    columns = repeat(columns, "w two -> (h w) two", h=h)
    return np.concatenate([rows, columns], axis=1)


def _edges(side: int, patch_px: int, num_levels: int) -> np.ndarray:
    """Return the intervals of the patches along one side of the true image, in levels."""
    starts = np.arange(0, side, patch_px)
    stops = np.minimum(starts + patch_px, side)
    return np.round(np.stack([starts, stops], axis=1) / side * num_levels).astype(np.int16)
