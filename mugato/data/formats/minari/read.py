"""Demonstrations from a Minari data set, as episodes.

Any Minari data set on this machine, recorded by `mugato record`, by another program, or downloaded
with `minari download`. It knows nothing of tasks or tokens.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
from minari.storage import get_dataset_path

from mugato.data.cache import CachedSource, MemoryBudget
from mugato.data.formats.minari.layout import (
    EXECUTED,
    has_executed,
    leaf_locations,
    read_array,
    read_length,
)
from mugato.data.source import check_split, similar
from mugato.episode import Episode, validate
from mugato.spec import Spec, flatten, spec_of
from mugato.system.errors import one_line
from mugato.system.typed_json import from_json, read_json

DATA_FOLDER = "data"
METADATA = "metadata.json"
HDF5_FILE = "main_data.hdf5"
# Minari wants a namespace of at least two characters.
_DATASET_ID = re.compile(r"(?!\w/[^/]*$)([-\w]+/)*[-\w]+-v\d+")
# Reading neighbors with an episode saves opening the file again for each.
MAX_BLOCK_EPISODES = 32
MAX_BLOCK_BYTES = 2**26


class MinariSource(CachedSource):
    """Random access to the episodes of a data set.

    Where all may stay in memory episodes are read in blocks of neighbors, pictures as they are.

    Attributes:
        name: the Minari id.
        spec: from the spaces that are stored with the data.
    """

    def __init__(self, name: str, reader: "Reader", budget: MemoryBudget) -> None:
        super().__init__(
            name=name,
            spec=reader.spec,
            lengths=reader.lengths(),
            budget=budget,
            has_executed=reader.has_executed,
        )
        self._reader = reader

    def __getitem__(self, index: int) -> Episode:
        self.check_index(index)
        block, place = divmod(index, self._block_episodes())
        return self._cache.get(block, partial(self._read_block, block))[place]

    def read(self, index: int, start: int, stop: int) -> Episode:
        with _damage_named(self.name, self._reader.path, episode=index):
            (episode,) = self._reader(range(index, index + 1), range(start, stop))
        return episode

    def _block_episodes(self) -> int:
        """Return how many episodes are read together."""
        episode_bytes = max(1, self._cache.num_bytes // len(self))
        neighbors = max(1, min(MAX_BLOCK_EPISODES, MAX_BLOCK_BYTES // episode_bytes))
        return neighbors if self._cache.everything else 1

    def _read_block(self, block: int) -> list[Episode]:
        size = self._block_episodes()
        indices = range(block * size, min((block + 1) * size, len(self)))
        try:
            episodes = list(self._reader(indices))
        except Exception:
            for i in indices:  # which of them is it?
                with _damage_named(self.name, self._reader.path, episode=i):
                    list(self._reader(range(i, i + 1)))
            raise
        return [validate(episode, self.spec) for episode in episodes]


def open_minari(
    dataset_id: str, split: str = "train", budget: MemoryBudget | None = None
) -> MinariSource:
    """Open a data set of this machine; a missing version means "-v0".

    Args:
        budget: what episodes may stay in memory, shared with other sources; its own if None.

    Raises:
        ValueError: malformed or unknown id, no episodes, damaged files, unsupported spaces; a
            split other than "train", the only one of demonstrations.
    """
    check_split(dataset_id, split, ("train",))
    dataset_id = complete_dataset_id(dataset_id)
    folder = dataset_folder(dataset_id)
    if not (folder / DATA_FOLDER).is_dir():  # asked here: Minari would search its servers first
        raise ValueError(
            f"no Minari data set {dataset_id!r} in {get_dataset_path()}{_similar(dataset_id)}"
        )
    metadata = folder / DATA_FOLDER / METADATA
    _check_files(dataset_id, metadata)
    with _damage_named(dataset_id, metadata):
        dataset = minari.load_dataset(dataset_id)
    try:
        spec = spec_of(dataset.observation_space, dataset.action_space)
    except ValueError as error:
        raise ValueError(f"Minari data set {dataset_id!r}: {error}") from error
    has_images = any(leaf.kind == "image" for _, _, leaf in spec.leaves())
    has_jpeg = dataset.storage.jpeg_encoding and has_images
    hdf5 = dataset.storage.FORMAT == "hdf5" and not has_jpeg
    reader = (_Hdf5Reader if hdf5 else Reader)(dataset=dataset, spec=spec)
    with _damage_named(dataset_id, reader.path):
        source = MinariSource(dataset_id, reader, budget or MemoryBudget())
    if not source.lengths:
        raise ValueError(f"Minari data set {dataset_id!r} in {folder} has no episodes")
    return source


def episode_of(data: Any, spec: Spec, *, name: str) -> Episode:
    """Take nested, stacked values apart, as Minari gives them.

    The last observation, which no action answers, is dropped. Nothing of the infos is read.
    """
    timesteps = len(data.rewards)
    observations = flatten(spec.observation, data.observations, "observation")
    actions = flatten(spec.action, data.actions, "action")
    return Episode(
        observations={path: _array(leaf[:timesteps]) for path, leaf in observations.items()},
        actions={path: _array(leaf[:timesteps]) for path, leaf in actions.items()},
        rewards=np.asarray(data.rewards, np.float32),
        name=name,
    )


def complete_dataset_id(dataset_id: str) -> str:
    """Add the version that Minari demands to a plain name.

    >>> complete_dataset_id("my-data"), complete_dataset_id("mugato/cartpole/expert-v0")
    ('my-data-v0', 'mugato/cartpole/expert-v0')

    Raises:
        ValueError: if no Minari id can come of it.
    """
    completed = dataset_id if re.search(r"-v\d+$", dataset_id) else f"{dataset_id}-v0"
    if not _DATASET_ID.fullmatch(completed):
        raise ValueError(
            f"{dataset_id!r} is no Minari id; one looks like 'namespace/name-v0', of letters, "
            "digits, '-' and '_'"
        )
    return completed


def dataset_folder(dataset_id: str) -> Path:
    """Where Minari keeps a data set: below $MINARI_DATASETS_PATH or ~/.minari/datasets."""
    return Path(get_dataset_path(dataset_id))


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads through Minari, whatever the format.

    What was executed in the place of the actions is read where it stands in an HDF5 file, which is
    how `mugato record` keeps it; other writers' infos are their own.
    """

    dataset: minari.MinariDataset
    spec: Spec

    @property
    def path(self) -> Path:
        """What is read: a file, or a folder of several."""
        storage = self.dataset.storage
        folder = Path(storage.data_path)
        return folder / HDF5_FILE if storage.FORMAT == "hdf5" else folder

    def __call__(self, block: range, rows: range | None = None) -> Iterator[Episode]:
        """Read neighboring episodes, or some timesteps of each."""
        ids = self.dataset.episode_indices[block.start : block.stop]
        for i, data in zip(block, self.dataset.iterate_episodes(ids), strict=True):
            episode = episode_of(data, self.spec, name=f"{self.dataset.id} episode {i}")
            if self.has_executed:
                with h5py.File(self.path, "r") as file:
                    index = int(self.dataset.episode_indices[i])
                    episode = replace(episode, executed=read_executed(file, index, self.spec))
            yield episode if rows is None else episode.window(rows.start, rows.stop)

    @cached_property
    def has_executed(self) -> bool:
        """Tell whether what was executed stands beside the actions: in all episodes, or in none."""
        if self.dataset.storage.FORMAT != "hdf5" or not len(self.dataset.episode_indices):
            return False
        with h5py.File(self.path, "r") as file:
            return has_executed(file, int(self.dataset.episode_indices[0]))

    def lengths(self) -> tuple[int, ...]:
        metadata = self.dataset.storage.get_episode_metadata(self.dataset.episode_indices)
        return tuple(int(episode["total_steps"]) for episode in metadata)


@dataclass(frozen=True, kw_only=True)
class _Hdf5Reader(Reader):
    """Reads HDF5 itself, which on short episodes is several times faster."""

    def __call__(self, block: range, rows: range | None = None) -> Iterator[Episode]:
        spec, indices = self.spec, self.dataset.episode_indices
        places = (
            leaf_locations(spec.observation, root="observation", group="observations"),
            leaf_locations(spec.action, root="action", group="actions"),
        )
        with self._open() as file:
            for i in block:
                index = int(indices[i])
                observations, actions = (
                    {path: read_array(file, index, place, rows) for path, place in part.items()}
                    for part in places
                )
                rewards = read_array(file, index, "rewards", rows).astype(np.float32)
                # The last observation is answered by no action.
                observed = {path: values[: len(rewards)] for path, values in observations.items()}
                executed = read_executed(file, index, spec, rows) if self.has_executed else None
                yield Episode(
                    observations=observed,
                    actions=actions,
                    rewards=rewards,
                    executed=executed,
                    name=f"{self.dataset.id} episode {i}",
                )

    def lengths(self) -> tuple[int, ...]:
        indices = self.dataset.episode_indices
        with self._open() as file:
            if len(file) != len(indices):
                raise ValueError(f"it has {len(file)} episodes, {METADATA} says {len(indices)}")
            return tuple(read_length(file, int(i)) for i in indices)

    def _open(self) -> h5py.File:
        return h5py.File(self.path, "r")


def read_executed(
    file: h5py.File, index: int, spec: Spec, rows: range | None = None
) -> dict[str, np.ndarray]:
    """Read what was executed in the place of an episode's actions, or of some timesteps'."""
    places = leaf_locations(spec.action, root="action", group=f"infos/{EXECUTED}")
    return {path: read_array(file, index, place, rows) for path, place in places.items()}


def _check_files(dataset_id: str, path: Path) -> None:
    """Refuse a data set whose files are gone or broken, which Minari does not name."""
    with _damage_named(dataset_id, path):
        metadata = from_json(dict[str, Any], read_json(path), METADATA)
    if metadata.get("data_format") == "hdf5":
        with _damage_named(dataset_id, path.with_name(HDF5_FILE)):
            path.with_name(HDF5_FILE).open("rb").close()


@contextmanager
def _damage_named(dataset_id: str, path: Path, *, episode: int | None = None) -> Iterator[None]:
    """Turn what Minari and HDF5 raise for a damaged file into one line that names it."""
    try:
        yield
    except ImportError:  # of a package that the format needs
        raise
    except Exception as error:  # both raise what they like
        which = "" if episode is None else f", episode {episode},"
        raise ValueError(
            f"Minari data set {dataset_id!r}{which} in {path} cannot be read: {one_line(error)}"
        ) from error


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=object) if isinstance(values, list) else np.asarray(values)


def _similar(dataset_id: str) -> str:
    root = Path(get_dataset_path())
    known = [
        str(folder.parent.relative_to(root))
        for folder in root.glob(f"**/{DATA_FOLDER}")
        if not any(part.startswith(".") for part in folder.relative_to(root).parts)
    ]
    return similar(dataset_id, known)
