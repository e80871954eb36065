"""A small LeRobot data set as that program lays it out: files of several episodes, in chunks."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FPS = 10
LENGTHS = (4, 1, 6, 3)
FILE_OF = (0, 0, 0, 1)  # which file an episode is in
TASKS = ("push the block", "lift the cube")
HEIGHT, WIDTH = 32, 48
VIDEO, PICTURE = "observation.images.top", "observation.images.wrist"


def level(episode: int, timestep: int) -> int:
    """Return the gray of a frame: no two of a data set are alike."""
    return 20 * episode + 12 * timestep + 30


def state(episode: int, timestep: int) -> list[float]:
    return [episode + timestep / 10, -timestep, 300.0]


@dataclass
class Files:
    """What is written; tests change it before writing."""

    folder: Path
    columns: dict[str, list] = field(default_factory=dict)
    info: dict = field(default_factory=dict)
    stats: dict = field(default_factory=dict)
    episodes: dict[str, list] = field(default_factory=dict)
    tasks: dict[str, list] = field(default_factory=dict)
    codec: str = "libx264"

    def __post_init__(self) -> None:
        rows = [(e, t) for e, length in enumerate(LENGTHS) for t in range(length)]
        self.columns = {
            "observation.state": [state(e, t) for e, t in rows],
            PICTURE: [{"bytes": png(level(e, t)), "path": f"{e}-{t}.png"} for e, t in rows],
            "action": [[100 + e, -t / 2] for e, t in rows],
            "next.reward": [float(t) for _, t in rows],
            "next.done": [t == LENGTHS[e] - 1 for e, t in rows],
            "timestamp": [np.float32(t / FPS) for _, t in rows],
            "frame_index": [t for _, t in rows],
            "episode_index": [e for e, _ in rows],
            "index": list(range(len(rows))),
            "task_index": [e % 2 for e, _ in rows],
        }
        vector = {"dtype": "float32", "names": None}
        picture = {"shape": [3, HEIGHT, WIDTH], "names": ["channels", "height", "width"]}
        self.info = {
            "codebase_version": "v3.0", "robot_type": None, "total_episodes": len(LENGTHS),
            "total_frames": len(rows), "total_tasks": len(TASKS), "fps": FPS,
            "splits": {"train": "0:3", "test": "3:4"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": {
                VIDEO: {"dtype": "video", **picture},
                PICTURE: {**picture, "dtype": "image", "shape": [HEIGHT, WIDTH, 3]},
                "observation.state": {**vector, "shape": [3]},
                "action": {**vector, "shape": [2]},
                "next.reward": {**vector, "shape": [1]},
                "next.done": {"dtype": "bool", "shape": [1], "names": None},
                **{
                    name: {"dtype": "int64", "shape": [1], "names": None}
                    for name in ("frame_index", "episode_index", "index", "task_index")
                },
                "timestamp": {**vector, "shape": [1]},
            },
        }  # fmt: skip
        self.stats = {"action": {"min": [100.0, -2.5], "max": [103.0, 0.0]}}
        self.tasks = {"task_index": [0, 1], "__index_level_0__": list(TASKS)}
        ends = np.cumsum(LENGTHS)
        starts = ends - LENGTHS
        in_video = [starts[e] - starts[FILE_OF.index(FILE_OF[e])] for e in range(len(LENGTHS))]
        self.episodes = {
            "episode_index": list(range(len(LENGTHS))),
            "tasks": [[TASKS[e % 2]] for e in range(len(LENGTHS))],
            "length": list(LENGTHS),
            "dataset_from_index": starts.tolist(),
            "dataset_to_index": ends.tolist(),
            "data/chunk_index": [0] * len(LENGTHS),
            "data/file_index": list(FILE_OF),
            f"videos/{VIDEO}/chunk_index": [0] * len(LENGTHS),
            f"videos/{VIDEO}/file_index": list(FILE_OF),
            f"videos/{VIDEO}/from_timestamp": [float(n) / FPS for n in in_video],
        }

    def write(self) -> Path:
        """Write everything; returns the folder."""
        meta = self.folder / "meta"
        (meta / "episodes/chunk-000").mkdir(parents=True)
        (meta / "info.json").write_text(json.dumps(self.info))
        (meta / "stats.json").write_text(json.dumps(self.stats))
        pq.write_table(pa.table(self.tasks), meta / "tasks.parquet")
        pq.write_table(pa.table(self.episodes), meta / "episodes/chunk-000/file-000.parquet")
        (self.folder / "data/chunk-000").mkdir(parents=True)
        for file in sorted(set(FILE_OF)):
            owners = [e for e, length in enumerate(LENGTHS) for _ in range(length)]
            kept = [i for i, e in enumerate(owners) if FILE_OF[e] == file]
            table = pa.table({k: pa.array([v[i] for i in kept]) for k, v in self.columns.items()})
            path = self.folder / f"data/chunk-000/file-{file:03}.parquet"
            pq.write_table(table, path, row_group_size=3)  # episodes begin within groups
            self.write_video(file)
        return self.folder

    def write_video(self, file: int) -> None:
        folder = self.folder / f"videos/{VIDEO}/chunk-000"
        folder.mkdir(parents=True, exist_ok=True)
        with usual_priority(), av.open(str(folder / f"file-{file:03}.mp4"), "w") as container:
            stream = container.add_stream(self.codec, rate=FPS)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.options = {"g": "2", "crf": "2"}
            for episode, length in enumerate(LENGTHS):
                for t in range(length if FILE_OF[episode] == file else 0):
                    pixels = np.full((HEIGHT, WIDTH, 3), level(episode, t), np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode())


@contextmanager
def usual_priority() -> Iterator[None]:
    """Undo what the AV1 encoder does where it may: real-time priority, for all children too."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def png(gray: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (gray, 0, 255)).save(file, "PNG")
    return file.getvalue()
