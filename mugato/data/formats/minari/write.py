"""Write a Minari data set whole, or not at all.

Minari's own writers take pictures as lossy JPEG or uncompressed, 17 times the size of what is
written here, or need quadratic time (Arrow: 25 s for 1,000 short episodes instead of 1). What is
written here opens with plain `minari.load_dataset`.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium
import h5py
import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.dataset._storages.hdf5_storage import encode_frame
from minari.dataset.minari_storage import is_image_space
from minari.namespace import create_namespace, list_local_namespaces
from minari.serialization import serialize_space

from mugato.data.formats.minari.layout import StoredArray, write_episode
from mugato.data.formats.minari.read import DATA_FOLDER, HDF5_FILE, METADATA, dataset_folder
from mugato.spec import map_space


@runtime_checkable
class EpisodeArrays(Protocol):
    """An episode ready to be written: its compressed arrays by path in the file."""

    @property
    def seed(self) -> int: ...

    @property
    def timesteps(self) -> int: ...

    @property
    def arrays(self) -> Mapping[str, StoredArray]: ...


def write_dataset(
    dataset_id: str,
    env: gymnasium.Env,
    episodes: Iterable[EpisodeArrays],
    *,
    jpeg: bool,
    metadata: Mapping[str, Any],
) -> None:
    """Write a data set, and put it in place of one that is there when it is whole.

    Args:
        env: gives the spaces, and the spec from which Minari can make it again.
        jpeg: whether the pictures are JPEG.
        metadata: what to store beside Minari's own keys.

    Raises:
        OSError: if it cannot be written (a full disk), naming the data set.
    """
    final, new = dataset_folder(dataset_id), beside(dataset_id, "new")
    shutil.rmtree(new, ignore_errors=True)  # left by a killed process
    try:
        (new / DATA_FOLDER).mkdir(parents=True)
        path = new / DATA_FOLDER / HDF5_FILE
        with closing(_MinariFile(path)) as file:
            for episode in episodes:
                file.append(episode)
        own = _minari_metadata(dataset_id, env, file, path, jpeg=jpeg)
        (new / DATA_FOLDER / METADATA).write_text(json.dumps({**own, **metadata}))
        namespace, _, _ = dataset_id.rpartition("/")
        if namespace and namespace not in list_local_namespaces():
            create_namespace(namespace)
        _move_into_place(new, final, replaced=beside(dataset_id, "replaced"))
    except OSError as error:
        raise OSError(f"cannot write data set {dataset_id!r} to {final}: {error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def as_jpeg(space: gymnasium.Space, values: Any) -> Any:
    """Replace pictures of shape (T, height, width, ...) in stacked values by T rows of JPEG bytes.

    That is lossy, and how Minari keeps them in a data set with `jpeg_encoding`. Rows are filled up
    with zeros to the longest, which decoders do not read.

    Raises:
        ValueError: for pictures of neither one plane nor three colors.
    """
    return map_space(_leaf_as_jpeg, space, values)


def _leaf_as_jpeg(space: gymnasium.Space, values: Any, *, path: str) -> Any:
    if not is_image_space(space):
        return values
    if space.shape is not None and space.shape[2:] not in ((), (3,)):
        raise ValueError(f"pictures of shape {space.shape} cannot be JPEG")
    rows = [encode_frame(frame) for frame in values]
    encoded = np.zeros((len(rows), max(map(len, rows))), np.uint8)
    for row, data in zip(encoded, rows, strict=True):
        row[: len(data)] = data
    return encoded


class _MinariFile:
    """An open HDF5 file of episodes."""

    def __init__(self, path: Path) -> None:
        self._disk = _SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver="latest", track_order=True)
        self.num_episodes = 0
        self.num_timesteps = 0

    def append(self, episode: EpisodeArrays) -> None:
        with _interrupted_afterwards():
            write_episode(
                self._file,
                self.num_episodes,
                seed=episode.seed,
                timesteps=episode.timesteps,
                arrays=episode.arrays,
            )
        self.num_episodes += 1
        self.num_timesteps += episode.timesteps
        self._disk.raise_error()

    def close(self) -> None:
        with _interrupted_afterwards():
            self._file.close()
            self._disk.close()
        self._disk.raise_error()


class _SteadyFile:
    """A file that keeps its first error instead of raising it, and only pretends from then on.

    HDF5 cannot close a file that it failed to write: it crashes the process when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._error: OSError | None = None

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:  # Cython's memoryview is not Python's
        self._try(self._file.write, data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return self._try(self._file.read, size) or b""

    def readinto(self, buffer: Any) -> int:
        return self._try(self._file.readinto, buffer) or len(buffer)

    def tell(self) -> int:
        return self._try(self._file.tell) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._try(self._file.seek, offset, whence) or 0

    def truncate(self, size: int) -> int:
        return self._try(self._file.truncate, size) or 0

    def flush(self) -> None:
        self._try(self._file.flush)

    def close(self) -> None:
        self._try(self._file.close)

    def _try(self, operation: Callable, *args: Any) -> Any:
        try:
            return operation(*args)
        except OSError as error:
            self._error = self._error or error


@contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Hold Ctrl-C back while HDF5 calls our file: an exception in there is lost on its way."""
    pressed: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    except ValueError:  # not the main thread, which alone is interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def beside(dataset_id: str, what: str) -> Path:
    """Name a hidden neighbor of a data set, which no one takes for a data set."""
    folder = dataset_folder(dataset_id)
    return folder.with_name(f".{folder.name}.{what}")


def _minari_metadata(
    dataset_id: str, env: gymnasium.Env, file: _MinariFile, path: Path, *, jpeg: bool
) -> dict[str, Any]:
    metadata = {
        "dataset_id": dataset_id,
        "total_episodes": file.num_episodes,
        "total_steps": file.num_timesteps,
        "data_format": "hdf5",
        "jpeg_encoding": jpeg,
        "observation_space": serialize_space(env.observation_space),
        "action_space": serialize_space(env.action_space),
        "minari_version": minari.__version__,
        "dataset_size": round(path.stat().st_size / 1e6, 1),
    }
    spec = _spec_to_json(env.spec)
    return metadata if spec is None else {**metadata, "env_spec": spec}


def _spec_to_json(env_spec: EnvSpec | None) -> str | None:
    """Return the environment's spec, if JSON can hold it (Meta-World's has a lambda)."""
    try:
        return None if env_spec is None else env_spec.to_json()
    except (TypeError, ValueError):
        return None


def _move_into_place(new: Path, final: Path, *, replaced: Path) -> None:
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    new.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)
