"""Pictures as lossy JPEG, where Minari expects them in a data set with `jpeg_encoding`."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from minari.dataset._storages.hdf5_storage import encode_frame
from minari.dataset.minari_storage import is_image_space


def with_jpeg(space: gymnasium.Space, values: Any) -> Any:
    """Replace each (T, height, width, ...) of pictures in stacked values by T rows of JPEG bytes.

    Rows are filled up with zeros to the longest, which decoders do not read.

    Raises:
        ValueError: for pictures of neither one plane nor three colors.
    """
    match space:
        case spaces.Dict():
            return {key: with_jpeg(child, values[key]) for key, child in space.items()}
        case spaces.Tuple():
            pairs = zip(space.spaces, values, strict=True)
            return tuple(with_jpeg(child, value) for child, value in pairs)
    if not is_image_space(space):
        return values
    if space.shape is not None and space.shape[2:] not in ((), (3,)):
        raise ValueError(f"pictures of shape {space.shape} cannot be JPEG")
    return _encoded(values)


def _encoded(frames: np.ndarray) -> np.ndarray:
    rows = [encode_frame(frame) for frame in frames]
    encoded = np.zeros((len(rows), max(map(len, rows))), np.uint8)
    for row, data in zip(encoded, rows, strict=True):
        row[: len(data)] = data
    return encoded
