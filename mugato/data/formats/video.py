"""Frames of a video file by their times, without decoding what lies before them.

It knows nothing of episodes: it seeks to the last key frame before the first time asked for, and
decodes from there to the last.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from mugato.system.optional import require


def read_frames(
    path: Path, times_s: Float[ndarray, " t"], *, tolerance_s: float, size_px: int | None = None
) -> UInt8[ndarray, "t height width 3"]:
    """Decode the frames that are nearest to the given times.

    Args:
        times_s: rising, in seconds from the start of the file.
        tolerance_s: how far the nearest frame may be.
        size_px: frames are resized to squares of this side, each as it is decoded.

    Raises:
        ValueError: a file that is missing, damaged or too short, naming it and the time.
    """
    av = require("av", extra="lerobot")
    try:
        with av.open(str(path)) as container:
            return _nearest(container, path, times_s, tolerance_s, size_px)
    except (av.FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"the video {path} cannot be read: {reason}") from error


def _nearest(
    container, path: Path, times_s: ndarray, tolerance_s: float, size_px: int | None
) -> ndarray:
    stream = container.streams.video[0]
    first, last = float(times_s[0]), float(times_s[-1])
    container.seek(max(0, int(first / stream.time_base)), stream=stream, backward=True)
    found: list[float] = []
    pixels: list[ndarray] = []
    for frame in container.decode(stream):
        if frame.time > last + tolerance_s:
            break
        if frame.time >= first - tolerance_s:
            found.append(frame.time)
            pixels.append(_pixels(frame, size_px))
    if not found:
        raise ValueError(f"the video {path} has no frame from {first:.3f} to {last:.3f} s")
    gaps = np.abs(np.array(found)[None, :] - times_s[:, None])
    nearest = gaps.argmin(axis=1)
    far = gaps[np.arange(len(times_s)), nearest] > tolerance_s
    if far.any():
        t = int(far.argmax())
        raise ValueError(
            f"the video {path} has no frame at {times_s[t]:.3f} s, that of timestep {t}; the "
            f"nearest is at {found[nearest[t]]:.3f} s"
        )
    return np.stack([pixels[i] for i in nearest])


def _pixels(frame, size_px: int | None) -> ndarray:
    if size_px is None:
        return frame.to_ndarray(format="rgb24")
    from PIL import Image

    return np.asarray(frame.to_image().resize((size_px, size_px), Image.Resampling.BOX))
