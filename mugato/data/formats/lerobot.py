"""Robot demonstrations in LeRobot's format, version 3: parquet files, pictures and videos.

It reads the files themselves, so the `lerobot` package is not needed. `observation.*` are the
observations (their names without that prefix) and `action*` the actions, apart from each other; the
text of the timestep's task is one more observation, `instruction`. `next.reward` is the reward.
What else there is (timestamps, indices) is nothing that an agent should see. Actions get as bounds
the extremes of `meta/stats.json`, so that the bins spread over what the robot really does.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mugato.data.cache import CachedSource, MemoryBudget
from mugato.data.formats.lerobot_meta import INSTRUCTION, MAX_FRAMES_OFF, LeRobotMeta, read_meta
from mugato.data.formats.parquet import read_rows, to_array
from mugato.data.pictures import read_picture
from mugato.data.source import check_split
from mugato.episode import Episode
from mugato.spec import Role
from mugato.system.errors import one_line
from mugato.system.optional import require

REWARD = "next.reward"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class LeRobotSource(CachedSource):
    """Random access to the episodes of a split.

    Attributes:
        name: what was opened.
        spec: from `meta/info.json`.
    """

    def __init__(
        self, *, name: str, meta: LeRobotMeta, episodes: range, budget: MemoryBudget
    ) -> None:
        lengths = tuple(meta.episodes["length"][list(episodes)].tolist())
        super().__init__(name=name, spec=meta.spec, lengths=lengths, budget=budget)
        self._meta, self._episodes = meta, episodes

    def read(self, index: int, start: int, stop: int) -> Episode:
        episode = self._episodes[index]  # the data set's number, not the split's
        rows = _Rows(self._meta, episode, start, stop)
        observations = {
            path: rows.leaf("observation", path)
            for path in self.spec.observation_leaves
            if path != INSTRUCTION
        }
        part = f" from timestep {start}" if start else ""
        return Episode(
            observations={**observations, INSTRUCTION: rows.instructions()},
            actions={path: rows.leaf("action", path) for path in self.spec.action_leaves},
            rewards=rows.rewards(),
            name=f"{self.name} episode {episode}{part}",
        )


def open_lerobot(
    where: str,
    split: str = "train",
    budget: MemoryBudget | None = None,
    *,
    size_px: int | None = None,
    without: tuple[str, ...] = (),
) -> LeRobotSource:
    """Open a split of a LeRobot data set.

    Args:
        where: a folder, or the id of a data set on the Hugging Face Hub, which is downloaded.
        split: one that `meta/info.json` declares; "train" is mostly everything.
        size_px: make pictures squares of this side; cameras fill the memory fast.
        without: features to leave out ("observation.images.wrist").

    Raises:
        ValueError: no such data set, or no network to look for it; whatever `read_meta` raises.
    """
    name = f"lerobot:{where}"
    if size_px is not None and size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")
    meta = read_meta(_folder(where), size_px=size_px, without=without)
    check_split(name, split, tuple(meta.splits))
    return LeRobotSource(
        name=name, meta=meta, episodes=meta.splits[split], budget=budget or MemoryBudget()
    )


class _Rows:
    """Some timesteps of one episode; knows how each kind of feature is stored."""

    def __init__(self, meta: LeRobotMeta, episode: int, start: int, stop: int) -> None:
        self._meta, self._episode, self._start = meta, episode, start
        self._path, first = meta.data_file(episode)
        stored = [key for key in meta.keys.values() if meta.dtypes[key] != "video"]
        columns = ["episode_index", "timestamp", "task_index", *stored]
        if REWARD in meta.dtypes:
            columns.append(REWARD)
        self._columns = read_rows(self._path, columns, first + start, first + stop)
        found = self._numbers("episode_index", (), "int64")
        if (found != episode).any():
            t = int((found != episode).argmax())
            where = self._where("episode_index")
            raise ValueError(f"{where} at timestep {start + t} is {found[t]}")

    def leaf(self, role: Role, path: str) -> np.ndarray:
        """Read all timesteps of a leaf."""
        spec, key = self._meta.spec, self._meta.keys[role, path]
        leaf = (spec.observation_leaves if role == "observation" else spec.action_leaves)[path]
        match self._meta.dtypes[key]:
            case "video":
                return self._frames(key)
            case "image":
                cells = self._columns[key].to_pylist()
                return np.stack(
                    [self._picture(key, t, cell, leaf.shape) for t, cell in enumerate(cells)]
                )
            case "string":
                return np.array(self._columns[key].to_pylist(), dtype=object)
        return self._numbers(key, leaf.shape, leaf.dtype)

    def instructions(self) -> np.ndarray:
        """Return the text of each timestep's task."""
        tasks = self._numbers("task_index", (), "int64").tolist()
        if unknown := set(tasks) - set(self._meta.tasks):
            raise ValueError(f"{self._where('task_index')}: no task {min(unknown)} in meta/tasks")
        return np.array([self._meta.tasks[task] for task in tasks], dtype=object)

    def rewards(self) -> np.ndarray:
        if REWARD not in self._columns:
            return np.zeros(0, np.float32)
        return self._numbers(REWARD, (1,), "float32")[:, 0]

    def _numbers(self, key: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return to_array(self._columns[key], shape, dtype, self._where(key))

    def _frames(self, key: str) -> np.ndarray:
        path, start_s = self._meta.video_file(self._episode, key)
        times_s = start_s + self._timestamps()
        try:
            return read_frames(
                path,
                times_s,
                tolerance_s=MAX_FRAMES_OFF / self._meta.fps,
                size_px=self._meta.size_px,
            )
        except ValueError as error:
            raise ValueError(f"episode {self._episode}, {key!r}: {error}") from error

    def _timestamps(self) -> np.ndarray:
        """Return when each timestep was, checked against its number: videos are cut by it."""
        times_s, meta = self._numbers("timestamp", (), "float64"), self._meta
        expected = (self._start + np.arange(len(times_s))) / meta.fps
        off = np.abs(times_s - expected) > MAX_FRAMES_OFF / meta.fps
        if off.any():
            t = int(off.argmax())
            raise ValueError(
                f"{self._where('timestamp')} at timestep {self._start + t} is {times_s[t]:.3f} s, "
                f"but at {meta.fps:g} Hz it would be {expected[t]:.3f} s"
            )
        return times_s

    def _picture(self, key: str, timestep: int, cell: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Decode a cell of {bytes, path}: the file's bytes, or where it lies."""
        cell, where = cell or {}, f"{self._where(key)} at timestep {self._start + timestep}"
        try:
            data = cell.get("bytes") or (self._meta.folder / cell["path"]).read_bytes()
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"{where}: no picture: {one_line(error)}") from error
        picture = read_picture(data, where, size_px=self._meta.size_px)
        if picture.shape != shape:
            raise ValueError(f"{where}: a picture of shape {picture.shape}, expected {shape}")
        return picture

    def _where(self, key: str) -> str:
        return f"{self._path}, episode {self._episode}: {key!r}"


def read_frames(
    path: Path, times_s: Float[np.ndarray, " t"], *, tolerance_s: float, size_px: int | None = None
) -> UInt8[np.ndarray, "t height width 3"]:
    """Decode the frames that are nearest to the given times, without decoding all before them.

    It seeks to the last key frame before the first time, and decodes from there to the last.

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
    container, path: Path, times_s: np.ndarray, tolerance_s: float, size_px: int | None
) -> np.ndarray:
    stream = container.streams.video[0]
    first, last = float(times_s[0]), float(times_s[-1])
    container.seek(max(0, int(first / stream.time_base)), stream=stream, backward=True)
    found: list[float] = []
    pixels: list[np.ndarray] = []
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


def _pixels(frame, size_px: int | None) -> np.ndarray:
    if size_px is None:
        return frame.to_ndarray(format="rgb24")
    from PIL import Image

    return np.asarray(frame.to_image().resize((size_px, size_px), Image.Resampling.BOX))


def _folder(where: str) -> Path:
    """Find a folder by its path, or by its id: where LeRobot records to, or on the Hub."""
    home = os.environ.get("HF_LEROBOT_HOME", "~/.cache/huggingface/lerobot")
    for folder in (Path(where).expanduser(), Path(home).expanduser() / where):
        if folder.is_dir():
            return folder
    if not _HUB_ID.fullmatch(where):
        raise ValueError(
            f"lerobot:{where}: there is no such folder, and it is not the id of a data set"
        )
    hub = require("huggingface_hub", extra="lerobot")
    try:
        return Path(hub.snapshot_download(where, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"lerobot:{where}: no such folder, and it cannot be had from the Hub: "
            f"{one_line(error)[:200]}"
        ) from error
