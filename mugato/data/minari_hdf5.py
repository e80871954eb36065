"""The layout of Minari's HDF5 files: write an episode, read it back as leaves.

One group per episode, in it a group or data set per key of the spaces ("_index_0" for the first
entry of a tuple). Minari's own code reads what is written here, and the other way round; this is
5 times faster on short episodes, where nearly all the time goes into opening data sets.
"""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s  # pyright: ignore[reportAttributeAccessIssue]

from mugato.spec import Tree, flatten

# Larger arrays are compressed: rendered worlds shrink 20 to 100 times, and reading gets faster.
COMPRESS_FROM_BYTES = 4096
MAX_CHUNK_BYTES = 2**26  # one chunk for a usual episode; HDF5 refuses chunks of 4 GiB


def write_episode(
    file: h5py.File,
    index: int,
    *,
    seed: int,
    observations: Any,
    actions: Any,
    rewards: np.ndarray,
    terminated: bool,
) -> None:
    """Append an episode of T timesteps.

    Args:
        observations, actions: values of the spaces, stacked leaf by leaf (text: a list of str);
            T + 1 observations, T actions.
    """
    timesteps = len(rewards)
    terminations, truncations = np.zeros((2, timesteps), np.bool_)
    (terminations if terminated else truncations)[-1] = True
    group = file.create_group(f"episode_{index}")
    group.attrs.update({"id": index, "seed": seed, "total_steps": timesteps})
    _write(group, "observations", observations)
    _write(group, "actions", actions)
    _write(group, "rewards", rewards)
    _write(group, "terminations", terminations)
    _write(group, "truncations", truncations)
    _write(group, "infos", {})


def leaf_locations(tree: Tree, *, root: str, group: str) -> dict[str, str]:
    """Where in an episode's group the leaves of a spec lie: leaf path -> HDF5 path.

    >>> from mugato.spec import Leaf
    >>> text = Leaf(kind="text")
    >>> leaf_locations({"a": text, "b": (text, text)}, root="observation", group="observations")
    {'a': 'observations/a', 'b/0': 'observations/b/_index_0', 'b/1': 'observations/b/_index_1'}
    """
    return flatten(tree, _locations(tree, group), root)


def read_array(file: h5py.File, index: int, location: str) -> np.ndarray:
    """Read one leaf of an episode, text as an array of str."""
    # h5py's own objects take several times as long to make as HDF5 to read a short episode.
    dataset = h5d.open(file.id, f"episode_{index}/{location}".encode())
    array = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5s.ALL, h5s.ALL, array)
    return _decoded(array) if array.dtype.kind in "SO" else array


def read_length(file: h5py.File, index: int) -> int:
    """Timesteps of an episode."""
    return h5d.open(file.id, f"episode_{index}/rewards".encode()).shape[0]


def _locations(tree: Tree, prefix: str) -> Any:
    match tree:
        case dict():
            return {key: _locations(child, f"{prefix}/{key}") for key, child in tree.items()}
        case tuple():
            children = enumerate(tree)
            return tuple(_locations(child, f"{prefix}/_index_{i}") for i, child in children)
    return prefix


def _decoded(array: np.ndarray) -> np.ndarray:
    # A mission repeats at every timestep: decode it once and keep it once.
    texts = {data: data.decode() for data in set(array.tolist())}
    return np.array([texts[data] for data in array.tolist()], dtype=object)


def _write(group: h5py.Group, name: str, values: Any) -> None:
    match values:
        case Mapping():
            child = group.create_group(name)
            for key, value in values.items():
                _write(child, key, value)
        case tuple():
            _write(group, name, {f"_index_{i}": value for i, value in enumerate(values)})
        case list():  # text, as fixed-length UTF-8: ten times faster than variable length
            _write(group, name, np.array([text.encode() for text in values]))
        case np.ndarray() if values.nbytes >= COMPRESS_FROM_BYTES:
            rows = max(1, min(len(values), MAX_CHUNK_BYTES // values[0].nbytes))
            chunks = (rows, *values.shape[1:])
            group.create_dataset(
                name, data=values, chunks=chunks, compression="gzip", compression_opts=1
            )
        case _:
            group.create_dataset(name, data=values)
