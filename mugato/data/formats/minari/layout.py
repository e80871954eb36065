"""The layout of Minari's HDF5 files: write an episode, read it back as leaves.

One group per episode, in it a group or data set per key of the spaces ("_index_0" for the first
entry of a tuple). Minari's own code reads what is written here, and the other way round; this is
5 times faster on short episodes, where nearly all the time goes into opening data sets.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]

from mugato.spec import Tree, flatten

# Among an episode's infos: what was executed in the place of its actions.
EXECUTED = "executed_action"
# Larger arrays are compressed: rendered worlds shrink 20 to 100 times, and reading gets faster.
COMPRESS_FROM_BYTES = 4096
COMPRESSION_LEVEL = 1
# One chunk for a short episode; in a long one a window is read without what is far from it.
CHUNK_BYTES = 2**17


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array as it will lie in the file, so that whoever makes it may also compress it.

    Attributes:
        shape: timesteps first.
        chunk_rows: timesteps in each compressed part, the last one filled up; None for one part
            that is not compressed.
    """

    dtype: str
    shape: tuple[int, ...]
    chunk_rows: int | None
    parts: tuple[bytes, ...]


def stored(array: np.ndarray) -> StoredArray:
    """Compress an array if that pays."""
    array = np.ascontiguousarray(array)
    dtype, shape = array.dtype.str, array.shape
    if array.nbytes < COMPRESS_FROM_BYTES:
        return StoredArray(dtype=dtype, shape=shape, chunk_rows=None, parts=(array.tobytes(),))
    rows = max(1, min(len(array), CHUNK_BYTES // array[0].nbytes))
    chunks = [array[start : start + rows].tobytes() for start in range(0, len(array), rows)]
    chunk_bytes = rows * array[0].nbytes
    parts = (zlib.compress(c.ljust(chunk_bytes, b"\0"), COMPRESSION_LEVEL) for c in chunks)
    return StoredArray(dtype=dtype, shape=shape, chunk_rows=rows, parts=tuple(parts))


def episode_arrays(
    *,
    observations: Any,
    actions: Any,
    rewards: np.ndarray,
    terminated: bool,
    infos: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Take an episode of T timesteps apart: path within its group -> array.

    Args:
        observations, actions: values of the spaces, stacked leaf by leaf (text: a list of str);
            T + 1 observations, T actions.
        infos: further values, stacked in the same way.

    >>> episode = {"actions": (np.zeros(1), ["up"]), "observations": np.zeros(2), "infos": {}}
    >>> list(episode_arrays(**episode, rewards=np.zeros(1), terminated=True))
    ['observations', 'actions/_index_0', 'actions/_index_1', 'rewards', 'terminations', 'truncations']
    """  # noqa: E501
    terminations, truncations = np.zeros((2, len(rewards)), np.bool_)
    (terminations if terminated else truncations)[-1] = True
    parts = {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "terminations": terminations,
        "truncations": truncations,
        "infos": infos,
    }
    return {path: array for name, part in parts.items() for path, array in _arrays(name, part)}


def write_episode(
    file: h5py.File, index: int, *, seed: int, timesteps: int, arrays: Mapping[str, StoredArray]
) -> None:
    """Append an episode; `arrays` as `episode_arrays` names them."""
    group = file.create_group(f"episode_{index}")
    group.attrs.update({"id": index, "seed": seed, "total_steps": timesteps})
    # h5py's own objects take twice as long to make as HDF5 to write a short episode.
    groups = {b""}
    for path, array in {**arrays, "infos/": None}.items():
        _make_groups(group.id, path.encode(), groups)
        if array is not None:
            _write(group.id, path.encode(), array)


def leaf_locations(tree: Tree, *, root: str, group: str) -> dict[str, str]:
    """Say where in an episode's group the leaves of a spec lie: leaf path -> HDF5 path.

    >>> from mugato.spec import Leaf
    >>> text = Leaf(kind="text")
    >>> leaf_locations({"a": text, "b": (text, text)}, root="observation", group="observations")
    {'a': 'observations/a', 'b/0': 'observations/b/_index_0', 'b/1': 'observations/b/_index_1'}
    """
    return flatten(tree, _locations(tree, group), root)


def read_array(file: h5py.File, index: int, location: str, rows: range | None = None) -> np.ndarray:
    """Read one leaf of an episode, or some timesteps of it, text as an array of str."""
    # h5py's own objects take several times as long to make as HDF5 to read a short episode.
    dataset = _open(file, index, location)
    if rows is None:
        array = np.empty(dataset.shape, dataset.dtype)
        dataset.read(h5s.ALL, h5s.ALL, array)
    else:
        array = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
        wanted = dataset.get_space()
        wanted.select_hyperslab((rows.start, *(0,) * (array.ndim - 1)), array.shape)
        dataset.read(h5s.create_simple(array.shape), wanted, array)
    return _decoded(array) if array.dtype.kind in "SO" else array


def read_length(file: h5py.File, index: int) -> int:
    """Return the number of timesteps of an episode."""
    return _open(file, index, "rewards").shape[0]


def has_executed(file: h5py.File, index: int) -> bool:
    """Tell whether an episode keeps what was executed in the place of its actions."""
    return f"episode_{index}/infos/{EXECUTED}" in file


def _open(file: h5py.File, index: int, location: str) -> Any:
    path = f"episode_{index}/{location}"
    try:
        return h5d.open(file.id, path.encode())
    except KeyError:
        raise ValueError(f"there is no {path} in the file") from None


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


def _arrays(path: str, values: Any) -> Iterator[tuple[str, np.ndarray]]:
    match values:
        case Mapping():
            for key, value in values.items():
                yield from _arrays(f"{path}/{key}", value)
        case tuple():
            for i, value in enumerate(values):
                yield from _arrays(f"{path}/_index_{i}", value)
        case list():  # text, as fixed-length UTF-8: ten times faster than variable length
            yield path, np.array([text.encode() for text in values])
        case _:
            yield path, values


def _make_groups(group: Any, path: bytes, made: set[bytes]) -> None:
    """Make the groups on the way to `path` that are not among those made."""
    parent = path.rpartition(b"/")[0]
    if parent not in made:
        _make_groups(group, parent, made)
        h5g.create(group, parent, gcpl=_timeless(h5p.GROUP_CREATE))
        made.add(parent)


def _timeless(kind: Any) -> Any:
    """Return properties of an object without the time of its making: same data, same bytes."""
    properties = h5p.create(kind)
    properties.set_obj_track_times(False)
    return properties


def _write(group: Any, path: bytes, array: StoredArray) -> None:
    dtype, layout = np.dtype(array.dtype), _timeless(h5p.DATASET_CREATE)
    if array.chunk_rows is not None:
        layout.set_chunk((array.chunk_rows, *array.shape[1:]))
        layout.set_deflate(COMPRESSION_LEVEL)
    space, kind = h5s.create_simple(array.shape), h5t.py_create(dtype, logical=True)
    dataset = h5d.create(group, path, kind, space, layout)
    if array.chunk_rows is None:
        values = np.frombuffer(array.parts[0], dtype).reshape(array.shape)
        dataset.write(h5s.ALL, h5s.ALL, values)
        return
    origin = (0,) * (len(array.shape) - 1)
    for i, part in enumerate(array.parts):
        dataset.write_direct_chunk((i * array.chunk_rows, *origin), part)
