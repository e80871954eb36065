"""What the `meta` folder of a LeRobot data set (version 3) says: features, episodes, tasks, splits.

Everything is checked here, once, so that reading an episode need only look at its own rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from mugato.data.formats.parquet import column_names, read_rows, to_array
from mugato.spec import MAX_DISCRETE, TEXT_LEAF, Leaf, Role, Spec, Tree
from mugato.system.typed_json import from_json, read_json, within

INSTRUCTION = "instruction"
# How far a frame may be from where its number puts it, in frames.
MAX_FRAMES_OFF = 0.25
CONVERTER = "lerobot.datasets.v30.convert_dataset_v21_to_v30"
# The first part of a feature's name -> what it is.
ROLES: dict[str, Role] = {
    "observation": "observation", "observations": "observation", "action": "action",
    "actions": "action",
}  # fmt: skip
# pandas' name for an index without one; newer writers give the text a name.
TASK_COLUMNS = ("__index_level_0__", "task")
PICTURES = ("image", "video")
EPISODE_COLUMNS = (
    "episode_index", "length", "dataset_from_index", "dataset_to_index",
    "data/chunk_index", "data/file_index",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LeRobotMeta:
    """A data set's description.

    Attributes:
        folder: of the data set.
        spec: its leaves.
        keys: (role, leaf path) -> feature, for observations (but the instruction) and actions.
        dtypes: feature -> its type in `info.json`.
        size_px: pictures become squares of this side; None leaves them as they are.
        fps: timesteps a second.
        data_path, video_path: templates of file names.
        tasks: task index -> instruction.
        episodes: columns of the table of episodes, one entry an episode.
        splits: name -> episodes.
    """

    folder: Path
    spec: Spec
    keys: Mapping[tuple[Role, str], str]
    dtypes: Mapping[str, str]
    size_px: int | None
    fps: float
    data_path: str
    video_path: str
    tasks: Mapping[int, str] = field(repr=False)
    episodes: Mapping[str, np.ndarray] = field(repr=False)
    splits: Mapping[str, range]

    def data_file(self, episode: int) -> tuple[Path, int]:
        """Return the parquet file that holds an episode, and the episode's first row in it."""
        chunks, files = self.episodes["data/chunk_index"], self.episodes["data/file_index"]
        chunk, file = chunks[episode], files[episode]
        starts = self.episodes["dataset_from_index"]
        first = starts[(chunks == chunk) & (files == file)].min()
        path = self._path(self.data_path, chunk_index=chunk, file_index=file)
        return path, int(starts[episode] - first)

    def video_file(self, episode: int, key: str) -> tuple[Path, float]:
        """Return the video that holds an episode, and when in it the episode begins, in seconds."""
        chunk, file, start = (
            self.episodes[f"videos/{key}/{column}"][episode]
            for column in ("chunk_index", "file_index", "from_timestamp")
        )
        path = self._path(self.video_path, video_key=key, chunk_index=chunk, file_index=file)
        return path, float(start)

    def _path(self, template: str, **values: Any) -> Path:
        try:
            return self.folder / template.format(**values)
        except (LookupError, ValueError) as error:
            place = self.folder / "meta" / "info.json"
            raise ValueError(f"{place}: no path can be made of {template!r}: {error!r}") from None


def read_meta(
    folder: Path, *, size_px: int | None = None, without: tuple[str, ...] = ()
) -> LeRobotMeta:
    """Read and check `meta`.

    Args:
        size_px: pictures will be squares of this side; None leaves them as they are.
        without: features to leave out.

    Raises:
        ValueError: a missing or damaged file, another version, a feature that no leaf can hold,
            episodes without timesteps or with lengths that disagree; names file and field.
    """
    path = folder / "meta" / "info.json"
    info = _json(path)
    _check_info(info, path)
    stats = folder / "meta" / "stats.json"
    features = _chosen(info["features"], without, path)
    extremes = (
        from_json(dict[str, dict[str, Any]], _json(stats), str(stats)) if stats.exists() else {}
    )
    spec, keys = _spec(features, extremes, size_px, path)
    dtypes = {key: feature["dtype"] for key, feature in features.items()}
    videos = [key for key in keys.values() if dtypes[key] == "video"]
    episodes = _episodes(folder, videos, float(info["fps"]))
    return LeRobotMeta(
        folder=folder,
        spec=spec,
        keys=keys,
        dtypes=dtypes,
        size_px=size_px,
        fps=float(info["fps"]),
        data_path=info["data_path"],
        video_path=info.get("video_path") or "",
        tasks=_tasks(folder / "meta" / "tasks.parquet"),
        episodes=episodes,
        splits=_splits(info.get("splits") or {}, len(episodes["length"]), path),
    )


@dataclass(frozen=True, kw_only=True)
class _Feature:
    """What `info.json` says of a feature, as far as it matters here."""

    dtype: str
    shape: tuple[int, ...]
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None


def _check_info(info: Mapping[str, Any], path: Path) -> None:
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        raise ValueError(
            f"{path}: LeRobot format {version}, but only v3 is read; LeRobot converts it: "
            f"python -m {CONVERTER} --repo-id=..."
        )
    for name in ("features", "fps", "data_path"):
        if name not in info:
            raise ValueError(f"{path} has no {name!r}")
    where = f"{path}: features"
    for key, feature in from_json(dict[str, dict[str, Any]], info["features"], where).items():
        known = {f.name: feature[f.name] for f in fields(_Feature) if f.name in feature}
        from_json(_Feature, known, within(where, key))
    kinds = {"fps": float, "data_path": str, "video_path": str | None}
    for name, kind in {**kinds, "splits": dict[str, Any] | None}.items():
        from_json(kind, info.get(name), f"{path}: {name}")


def _json(path: Path) -> Mapping[str, Any]:
    return from_json(dict[str, Any], read_json(path), str(path))


def _chosen(features: Mapping, without: tuple[str, ...], path: Path) -> dict[str, Mapping]:
    if unknown := sorted(set(without) - set(features)):
        raise ValueError(f"{path} has no features {unknown}; there are {sorted(features)}")
    return {key: feature for key, feature in features.items() if key not in without}


def _spec(
    features: Mapping[str, Mapping], stats: Mapping, size_px: int | None, path: Path
) -> tuple[Spec, dict[tuple[Role, str], str]]:
    """Return the spec, and which feature each leaf comes from."""
    trees: dict[Role, dict[str, Tree]] = {"observation": {INSTRUCTION: TEXT_LEAF}, "action": {}}
    keys: dict[tuple[Role, str], str] = {}
    for key, feature in features.items():
        first, _, rest = key.partition(".")
        if first not in ROLES:
            continue
        role = ROLES[first]
        # The path without the role, as LeRobot means it; "/" would nest.
        name = (rest or role).replace("/", ".")
        if name in trees[role]:
            raise ValueError(f"{path}: two features are called {name!r}; leave one out (without=)")
        where = f"{path}: feature {key!r}"
        bounds = stats.get(key) if role == "action" or "int" in feature["dtype"] else None
        trees[role][name] = _leaf(feature, bounds, size_px, where)
        keys[role, name] = key
    observation, action = trees["observation"], trees["action"]
    if not action or len(observation) == 1:
        raise ValueError(f"{path}: no observation.* or no action among {sorted(features)}")
    plain = action["action"] if list(action) == ["action"] else action
    return Spec(observation=observation, action=plain), keys


def _leaf(feature: Mapping, bounds: Mapping | None, size_px: int | None, where: str) -> Leaf:
    dtype, shape = feature["dtype"], tuple(feature["shape"])
    if dtype in PICTURES:
        info = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
        if info.get("is_depth_map") or info.get("video.is_depth_map"):
            raise ValueError(f"{where} is a depth map, no picture; leave it out (without=)")
        return Leaf(kind="image", shape=_picture_shape(shape, size_px, where), dtype="uint8")
    if dtype == "string":
        return TEXT_LEAF
    size = int(np.prod(shape, dtype=np.int64))
    if dtype == "bool":
        low, high = np.zeros(size), np.ones(size)
    elif dtype.startswith(("float", "int", "uint")):
        low, high = _bounds(bounds, size, where)
    else:
        raise ValueError(f"{where} holds {dtype}; numbers, pictures and strings are supported")
    discrete = not dtype.startswith("float") and bool((high - low < MAX_DISCRETE).all())
    return Leaf(
        kind="discrete" if discrete else "continuous",
        shape=shape,
        dtype=dtype,
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _picture_shape(shape: tuple[int, ...], size_px: int | None, where: str) -> tuple[int, ...]:
    """(height, width, 3), as pictures are once they are decoded, whatever order is declared."""
    match shape:
        case (1 | 3, height, width) | (height, width, 1 | 3):
            return (size_px or height, size_px or width, 3)
    raise ValueError(f"{where}: pictures have 1 or 3 channels, got shape {shape}")


def _bounds(stats: Mapping | None, size: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    if stats is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    try:
        low, high = (np.asarray(stats[name], np.float64).reshape(-1) for name in ("min", "max"))
    except (KeyError, IndexError, TypeError, ValueError):
        low = high = np.zeros(0)
    if low.size != size or high.size != size or not np.isfinite([low, high]).all():
        raise ValueError(f"{where}: min and max in stats.json must be {size} finite numbers each")
    return low, high


def _tasks(path: Path) -> dict[int, str]:
    names = column_names(path)
    column = next((name for name in TASK_COLUMNS if name in names), None)
    if column is None:
        raise ValueError(f"{path} has no column {' or '.join(map(repr, TASK_COLUMNS))}")
    rows = read_rows(path, ["task_index", column])
    return dict(zip(rows["task_index"].to_pylist(), rows[column].to_pylist(), strict=True))


def _episodes(folder: Path, video_keys: list[str], fps: float) -> dict[str, np.ndarray]:
    """Read the table of episodes, column by column, in the order of their indices."""
    files = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise ValueError(f"{folder / 'meta' / 'episodes'} holds no chunk-*/file-*.parquet")
    columns = [*EPISODE_COLUMNS]
    for key in video_keys:
        for name in ("chunk_index", "file_index", "from_timestamp"):
            columns.append(f"videos/{key}/{name}")
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    for path in files:
        for column, values in read_rows(path, columns).items():
            dtype = "float64" if column.endswith("timestamp") else "int64"
            parts[column].append(to_array(values, (), dtype, f"{path}: {column!r}"))
    table = {column: np.concatenate(arrays) for column, arrays in parts.items()}
    _check_episodes(table, files[0].parents[1])
    for key in video_keys:
        _check_video(table, key, fps, folder)
    return table


def _check_episodes(table: Mapping[str, np.ndarray], where: Path) -> None:
    indices, lengths = table["episode_index"], table["length"]
    if not np.array_equal(indices, np.arange(len(indices))):
        raise ValueError(f"{where}: episode_index must count from 0, got {indices[:8].tolist()}...")
    if not len(indices):
        raise ValueError(f"{where}: there are no episodes")
    rows = table["dataset_to_index"] - table["dataset_from_index"]
    if (rows != lengths).any():
        i = int((rows != lengths).argmax())
        raise ValueError(f"{where}: episode {i} has length {lengths[i]}, but {rows[i]} rows")
    if (lengths < 1).any():
        raise ValueError(f"{where}: episode {int((lengths < 1).argmax())} has no timesteps")


def _check_video(table: Mapping[str, np.ndarray], key: str, fps: float, folder: Path) -> None:
    """Refuse episodes that reach into the next one of the same video: its frames would be read."""
    chunk, file, start = (
        table[f"videos/{key}/{column}"]
        for column in ("chunk_index", "file_index", "from_timestamp")
    )
    order = np.lexsort((start, file, chunk))
    one, following = order[:-1], order[1:]
    same = (chunk[one] == chunk[following]) & (file[one] == file[following])
    ends = start[one] + table["length"][one] / fps
    over = same & (ends > start[following] + MAX_FRAMES_OFF / fps)
    if over.any():
        i = int(over.argmax())
        raise ValueError(
            f"{folder}: {key!r}: the {table['length'][one[i]]} timesteps of episode {one[i]} at "
            f"{fps:g} Hz end at {ends[i]:.3f} s of the video, but episode {following[i]} begins at "
            f"{start[following[i]]:.3f} s"
        )


def _splits(declared: Mapping[str, str], num_episodes: int, path: Path) -> dict[str, range]:
    """Ranges of episodes by name ("0:50"); all are for training where nothing is declared."""
    splits = {}
    for name, text in (declared or {"train": f"0:{num_episodes}"}).items():
        start, _, stop = str(text).partition(":")
        if not (start.isdigit() and stop.isdigit() and int(start) < int(stop) <= num_episodes):
            raise ValueError(
                f"{path}: split {name!r} is {text!r}, expected 'from:to' of {num_episodes} episodes"
            )
        splits[name] = range(int(start), int(stop))
    return splits
