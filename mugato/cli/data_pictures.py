"""Pictures of an episode: in the terminal, as a contact sheet, as a moving picture."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from rich.text import Text

from mugato.data.pictures import write_gif
from mugato.episode import Episode
from mugato.spec import Spec
from mugato.system.files import write_whole
from mugato.tokens.images import to_pixels

TERMINAL_COLUMNS = 40
SHEET_COLUMNS = 8
MIN_SIDE_PX = 96  # smaller pictures are enlarged in files, by whole factors
GAP_PX = 4
GIF_FRAME_MS = 200
BACKGROUND = 255
# One character shows two pixels: the upper half in its color, the lower in its background's.
UPPER_HALF = "▀"


def frames(episode: Episode, spec: Spec) -> list[UInt8[ndarray, "height width 3"]]:
    """One picture a timestep: all image leaves of the observation side by side.

    Raises:
        ValueError: the episode has no pictures.
    """
    leaves = {path: leaf for path, leaf in spec.observation_leaves.items() if leaf.kind == "image"}
    if not leaves:
        raise ValueError(f"{episode.name} has no pictures, only {list(spec.observation_leaves)}")
    shown = []
    for t in range(len(episode)):
        pictures = []
        for path, leaf in leaves.items():
            [stacked] = to_pixels(leaf, episode.observations[path][t : t + 1])
            pictures += map(_rgb, stacked)
        shown.append(_beside(pictures))
    return shown


def half_blocks(picture: UInt8[ndarray, "height width 3"], *, columns: int) -> Text:
    """Draw a picture in characters, at most `columns` wide.

    >>> half_blocks(np.zeros((32, 16, 3), np.uint8), columns=8).plain.split()[0]
    '▀▀▀▀▀▀▀▀'
    """
    height, width = picture.shape[:2]
    columns = min(columns, width)
    rows = max(1, round(height * columns / width / 2))
    small = Image.fromarray(picture).resize((columns, 2 * rows), Image.Resampling.BOX)
    pixels = np.asarray(small).tolist()
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True):
            text.append(UPPER_HALF, f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        text.append("\n")
    text.rstrip()
    return text


def write_pictures(path: Path, episode: Episode, spec: Spec) -> None:
    """Write all timesteps: a contact sheet (.png) or a moving picture (.gif).

    Raises:
        ValueError: another kind of file, or no pictures.
    """
    pictures = [_enlarged(frame) for frame in frames(episode, spec)]
    match path.suffix.lower():
        case ".png":
            sheet = Image.fromarray(_sheet(pictures))
            write_whole(path, lambda beside: sheet.save(beside, format="PNG"))
        case ".gif":
            write_gif(path, map(Image.fromarray, pictures), frame_ms=GIF_FRAME_MS)
        case _:
            raise ValueError(f"pictures are written as .png or .gif, not as {path.name!r}")


def _rgb(picture: ndarray) -> ndarray:
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def _beside(pictures: list[ndarray]) -> ndarray:
    height = max(len(picture) for picture in pictures)
    padded = []
    for picture in pictures:
        below = height - len(picture)
        padded.append(
            np.pad(picture, ((0, below), (0, GAP_PX), (0, 0)), constant_values=BACKGROUND)
        )
    return np.concatenate(padded, axis=1)[:, :-GAP_PX]


def _enlarged(picture: ndarray) -> ndarray:
    factor = max(1, MIN_SIDE_PX // min(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _sheet(pictures: list[ndarray]) -> ndarray:
    """Rows of pictures, read like text."""
    blank = np.full_like(pictures[0], BACKGROUND)
    columns = min(SHEET_COLUMNS, len(pictures))
    pictures = pictures + [blank] * (-len(pictures) % columns)
    rows = [_beside(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    gap = np.full((GAP_PX, *rows[0].shape[1:]), BACKGROUND, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1])
