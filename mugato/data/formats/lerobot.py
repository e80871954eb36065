"""Robot demonstrations in LeRobot's format, version 3: parquet files, pictures and videos.

It reads the files themselves, so the `lerobot` package is not needed. `observation.*` are the
observations (their names without that prefix) and `action*` the actions; the text of the timestep's
task is one more observation, `instruction`. `next.reward` is the reward. What else there is
(timestamps, indices) is nothing that an agent should see. Actions get as bounds the extremes of
`meta/stats.json`, so that the bins spread over what the robot really does.
"""

import os
import re
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mugato.data.cache import EpisodeCache, MemoryBudget, timestep_bytes
from mugato.data.formats.lerobot_meta import INSTRUCTION, LeRobotMeta, read_meta
from mugato.data.formats.parquet import read_rows, to_array
from mugato.data.formats.video import read_frames
from mugato.data.pictures import read_picture
from mugato.data.source import Source, check_split
from mugato.episode import Episode, validate
from mugato.spec import Spec
from mugato.system.errors import one_line
from mugato.system.optional import require

REWARD = "next.reward"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class LeRobotSource(Source):
    """Random access to the episodes of a split; they stay in memory if all may.

    Attributes:
        name: what was opened.
        spec: from `meta/info.json`.
        lengths: timesteps per episode.
    """

    lengths: tuple[int, ...]

    def __init__(
        self,
        *,
        name: str,
        meta: LeRobotMeta,
        episodes: range,
        size_px: int | None,
        budget: MemoryBudget,
    ) -> None:
        self.name, self._meta, self._episodes, self._size_px = name, meta, episodes, size_px
        self._budget = budget
        self.lengths = tuple(meta.episodes["length"][list(episodes)].tolist())
        size = timestep_bytes(self.spec) * sum(self.lengths)
        self._cache = EpisodeCache(budget, num_bytes=size)

    @property
    def spec(self) -> Spec:
        return self._meta.spec

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Episode:
        """The episode at `index` of the split, validated.

        Raises:
            IndexError: for an index out of range.
            ValueError: a damaged file, a column that is missing, values that do not fit the spec.
        """
        episode = self._number(index)
        return self._cache.get(episode, partial(self._whole, episode))

    def window(self, index: int, start: int, stop: int) -> Episode:
        """The timesteps from `start` up to `stop` of an episode.

        Where not all episodes fit into memory nothing else is read, and nothing kept.

        Raises:
            IndexError, ValueError: as `[index]`; timesteps that the episode does not have.
        """
        episode = self._number(index)
        if not 0 <= start < stop <= self.lengths[index]:
            raise ValueError(
                f"{self.name} episode {episode} has {self.lengths[index]} timesteps, "
                f"not those from {start} up to {stop}"
            )
        if self._cache.everything:
            return self[index].window(start, stop)
        return self._read(episode, start, stop)

    def __reduce__(self) -> tuple:
        """Send no episodes to other processes: those read what they need."""
        make = partial(LeRobotSource, name=self.name, meta=self._meta, episodes=self._episodes)
        return partial(make, size_px=self._size_px, budget=self._budget), ()

    def _number(self, index: int) -> int:
        """The data set's number of an episode of this split."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} episodes, no episode {index}")
        return self._episodes[index]

    def _whole(self, episode: int) -> Episode:
        return self._read(episode, 0, int(self._meta.episodes["length"][episode]))

    def _read(self, episode: int, start: int, stop: int) -> Episode:
        rows = _Rows(
            meta=self._meta, episode=episode, start=start, stop=stop, size_px=self._size_px
        )
        spec = self.spec
        observations = {p: rows.leaf(p) for p in spec.observation_leaves if p != INSTRUCTION}
        part = f" from timestep {start}" if start else ""
        read = Episode(
            observations={**observations, INSTRUCTION: rows.instructions()},
            actions={path: rows.leaf(path) for path in spec.action_leaves},
            rewards=rows.rewards(),
            name=f"{self.name} episode {episode}{part}",
        )
        return validate(read, spec)


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
        name=name,
        meta=meta,
        episodes=meta.splits[split],
        size_px=size_px,
        budget=budget or MemoryBudget(),
    )


class _Rows:
    """Some timesteps of one episode; knows how each kind of feature is stored."""

    def __init__(
        self, *, meta: LeRobotMeta, episode: int, start: int, stop: int, size_px: int | None
    ) -> None:
        self._meta, self._episode, self._start, self._size_px = meta, episode, start, size_px
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

    def leaf(self, path: str) -> np.ndarray:
        """All timesteps of a leaf."""
        spec, key = self._meta.spec, self._meta.keys[path]
        leaf = {**spec.observation_leaves, **spec.action_leaves}[path]
        match self._meta.dtypes[key]:
            case "video":
                return self._frames(key)
            case "image":
                cells = self._columns[key].to_pylist()
                return np.stack([self._picture(key, t, cell) for t, cell in enumerate(cells)])
            case "string":
                return np.array(self._columns[key].to_pylist(), dtype=object)
        return self._numbers(key, leaf.shape, leaf.dtype)

    def instructions(self) -> np.ndarray:
        """The text of each timestep's task."""
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
        times_s = start_s + self._numbers("timestamp", (), "float64")
        try:
            return read_frames(
                path, times_s, tolerance_s=0.5 / self._meta.fps, size_px=self._size_px
            )
        except ValueError as error:
            raise ValueError(f"episode {self._episode}, {key!r}: {error}") from error

    def _picture(self, key: str, timestep: int, cell: Any) -> np.ndarray:
        """A cell of {bytes, path}: the file's bytes, or where it lies."""
        from PIL import Image

        cell = cell or {}
        try:
            data = cell.get("bytes") or (self._meta.folder / cell["path"]).read_bytes()
            if self._size_px is not None:
                return read_picture(data, size_px=self._size_px)
            return np.asarray(Image.open(BytesIO(data)).convert("RGB"))
        except (OSError, SyntaxError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._where(key)}: no picture at timestep {self._start + timestep}: "
                f"{one_line(error)}"
            ) from error

    def _where(self, key: str) -> str:
        return f"{self._path}, episode {self._episode}: {key!r}"


def _folder(where: str) -> Path:
    """A folder by its path, or by its id: where LeRobot records to, or from the Hub."""
    home = os.environ.get("HF_LEROBOT_HOME", "~/.cache/huggingface/lerobot")
    for folder in (Path(where).expanduser(), Path(home).expanduser() / where):
        if folder.is_dir():
            return folder
    if not _HUB_ID.fullmatch(where):
        raise ValueError(f"lerobot:{where}: there is no such folder, and it is no id of a data set")
    hub = require("huggingface_hub", extra="lerobot")
    try:
        return Path(hub.snapshot_download(where, repo_type="dataset"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"lerobot:{where}: no such folder, and it cannot be had from the Hub: "
            f"{one_line(error)[:200]}"
        ) from error
