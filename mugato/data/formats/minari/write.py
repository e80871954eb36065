"""Write a Minari data set whole, or not at all, and keep what is not whole beside it.

Minari's own writers take pictures as lossy JPEG or uncompressed, 17 times the size of what is
written here, or need quadratic time (Arrow: 25 s for 1,000 short episodes instead of 1). What is
written here opens with plain `minari.load_dataset`.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
from gymnasium.envs.registration import EnvSpec
from minari.namespace import create_namespace, list_local_namespaces
from minari.serialization import serialize_space

from mugato.data.formats.minari.layout import write_episode
from mugato.data.formats.minari.read import DATA_FOLDER, HDF5_FILE, dataset_folder
from mugato.recording.demonstrate import Demonstration
from mugato.recording.journal import Journal


@contextmanager
def unfinished_recording(
    dataset_id: str, settings: Mapping[str, Any], *, overwrite: bool
) -> Iterator[Journal]:
    """Go on with an unfinished recording of a data set, or begin one.

    It stays when the block ends in an error, unless there is no demonstration in it.

    Args:
        overwrite: begin anew, and replace the data set in the end.

    Raises:
        ValueError: the data set exists and may not be overwritten; what is unfinished has other
            settings; another process is recording.
    """
    path, final = _beside(dataset_id, "unfinished"), dataset_folder(dataset_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(Journal(path, {**settings, "overwrite": overwrite}, anew=overwrite)) as journal:
        if final.exists() and not journal.settings["overwrite"]:
            journal.remove()  # its process was killed between its last two acts
            check_may_write(dataset_id, overwrite=False)
        _check_same(dataset_id, {**settings, "overwrite": journal.settings["overwrite"]}, journal)
        try:
            yield journal
        finally:
            if journal.num_kept == 0:
                journal.remove()


def finish_recording(
    journal: Journal, dataset_id: str, env: gymnasium.Env, *, episodes: int, **metadata: Any
) -> None:
    """Turn a journal into a data set of its first `episodes` demonstrations, and remove it.

    Args:
        env: gives the spaces, and the spec from which Minari can make it again.
        metadata: what to store beside Minari's own keys.

    Raises:
        OSError: if it cannot be written (a full disk), naming the data set.
    """
    final, new = dataset_folder(dataset_id), _beside(dataset_id, "new")
    shutil.rmtree(new, ignore_errors=True)  # left by a killed process
    try:
        (new / DATA_FOLDER).mkdir(parents=True)
        path = new / DATA_FOLDER / HDF5_FILE
        with closing(_MinariFile(path)) as file:
            for demonstration in islice(journal.demonstrations(), episodes):
                file.append(demonstration)
        own = _minari_metadata(dataset_id, env, file, path, jpeg=journal.settings["jpeg"])
        (new / DATA_FOLDER / "metadata.json").write_text(json.dumps({**own, **metadata}))
        namespace, _, _ = dataset_id.rpartition("/")
        if namespace and namespace not in list_local_namespaces():
            create_namespace(namespace)
        _move_into_place(new, final, replaced=_beside(dataset_id, "replaced"))
    except OSError as error:
        raise OSError(f"cannot write data set {dataset_id!r} to {final}: {error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    journal.remove()


def is_recorded(dataset_id: str) -> bool:
    """Whether a data set is there, with nothing unfinished that is to replace it."""
    return dataset_folder(dataset_id).exists() and not _beside(dataset_id, "unfinished").exists()


def check_may_write(dataset_id: str, *, overwrite: bool) -> None:
    """Refuse to replace a data set, or anything else in its place, unasked.

    What is unfinished was asked when it was begun.
    """
    if is_recorded(dataset_id) and not overwrite:
        raise ValueError(
            f"data set {dataset_id!r} exists in {dataset_folder(dataset_id)}; overwrite it or "
            "choose a name"
        )


class _MinariFile:
    """An open HDF5 file of episodes."""

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


def _beside(dataset_id: str, what: str) -> Path:
    """A hidden neighbor, which no one takes for a data set."""
    folder = dataset_folder(dataset_id)
    return folder.with_name(f".{folder.name}.{what}")


def _check_same(dataset_id: str, settings: Mapping[str, Any], journal: Journal) -> None:
    before = journal.settings
    if before != settings:
        differences = [
            f"{key} {_shown(before.get(key))}, not {_shown(settings.get(key))}"
            for key in sorted({*before, *settings})
            if before.get(key) != settings.get(key)
        ]
        raise ValueError(
            f"data set {dataset_id!r} is unfinished, {journal.num_kept} episodes recorded with "
            f"{'; '.join(differences)}: go on with the same settings, or overwrite it"
        )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


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
    """The environment's spec, unless JSON cannot hold it (Meta-World's has a lambda)."""
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
