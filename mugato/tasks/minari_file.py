"""Write a Minari data set whole, or not at all.

Minari's own writers take pictures as lossy JPEG or uncompressed, 17 times the size of what is
written here, or need quadratic time (Arrow: 25 s for 1,000 short episodes instead of 1). What is
written here opens with plain `minari.load_dataset`.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
from gymnasium.envs.registration import EnvSpec
from minari.namespace import create_namespace, list_local_namespaces
from minari.serialization import serialize_space

from mugato.data.minari_hdf5 import write_episode
from mugato.data.minari_source import DATA_FOLDER, HDF5_FILE, dataset_folder
from mugato.tasks.demonstrate import Demonstration


class MinariFile:
    """An open, not yet visible data set; made by `new_minari_file`."""

    def __init__(self, path: Path) -> None:
        self._disk = _SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver="latest", track_order=True)
        self.num_episodes = 0
        self.num_timesteps = 0

    def append(self, episode: Demonstration) -> None:
        with _interrupted_afterwards():
            write_episode(
                self._file,
                self.num_episodes,
                seed=episode.seed,
                observations=episode.observations,
                actions=episode.actions,
                rewards=episode.rewards,
                terminated=episode.terminated,
            )
        self.num_episodes += 1
        self.num_timesteps += len(episode.rewards)
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


@contextmanager
def new_minari_file(
    dataset_id: str,
    env: gymnasium.Env,
    *,
    overwrite: bool,
    metadata: Callable[[], dict[str, Any]],
) -> Iterator[MinariFile]:
    """Write beside the final place; move there when the block ends without an error.

    Args:
        env: gives the spaces, and the spec from which Minari can make it again.
        metadata: called when the block has ended: what to store beside Minari's own keys.

    Raises:
        ValueError: if the data set exists and may not be overwritten.
        OSError: if it cannot be written (a full disk), naming the data set.
    """
    check_may_write(dataset_id, overwrite=overwrite)
    final = dataset_folder(dataset_id)
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process
    try:
        (partial / DATA_FOLDER).mkdir(parents=True)
        path = partial / DATA_FOLDER / HDF5_FILE
        with closing(MinariFile(path)) as file:
            yield file
        own = _minari_metadata(dataset_id, env, file, path)
        (partial / DATA_FOLDER / "metadata.json").write_text(json.dumps({**metadata(), **own}))
        _move_into_place(partial, final)
    except OSError as error:
        raise OSError(f"cannot write data set {dataset_id!r} to {final}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    namespace, _, _ = dataset_id.rpartition("/")
    if namespace and namespace not in list_local_namespaces():
        create_namespace(namespace)


def check_may_write(dataset_id: str, *, overwrite: bool) -> None:
    """Refuse to replace a data set, or anything else in its place, unasked."""
    folder = dataset_folder(dataset_id)
    if folder.exists() and not overwrite:
        raise ValueError(
            f"data set {dataset_id!r} exists in {folder}; overwrite it or choose a name"
        )


def _minari_metadata(
    dataset_id: str, env: gymnasium.Env, file: MinariFile, path: Path
) -> dict[str, Any]:
    metadata = {
        "dataset_id": dataset_id,
        "total_episodes": file.num_episodes,
        "total_steps": file.num_timesteps,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": serialize_space(env.observation_space),
        "action_space": serialize_space(env.action_space),
        "minari_version": minari.__version__,
        "dataset_size": round(path.stat().st_size / 1e6, 1),
    }
    spec = _spec_to_json(env.spec)
    return metadata if spec is None else {**metadata, "env_spec": spec}


def _spec_to_json(env_spec: EnvSpec | None) -> str | None:
    """The environment's spec, unless JSON cannot hold it (Meta-World's has a lambda)."""
    try:
        return None if env_spec is None else env_spec.to_json()
    except (TypeError, ValueError):
        return None


def _move_into_place(partial: Path, final: Path) -> None:
    replaced = final.with_name(f".{final.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    shutil.rmtree(replaced, ignore_errors=True)
