"""Pack demonstrations for a machine without a network: far smaller than their files, same values.

A grid world's pictures are made of few tiles: each is kept once, and a picture as numbers of tiles.
All episodes' values of one kind then lie together, and are compressed together.

    python benchmarks/pack_data.py pack FOLDER [--most EPISODES] [--tasks NAME ...]
    python benchmarks/pack_data.py unpack FOLDER      # into $MINARI_DATASETS_PATH
"""

import argparse
import json
import lzma
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s  # pyright: ignore[reportAttributeAccessIssue]
from minari.storage import get_dataset_path

from mugato.data.formats.minari.layout import StoredArray, write_episode

NAMESPACE, TILE_PX = "mugato", 8
DATA, METADATA = "main_data.hdf5", "metadata.json"


def tiled(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut pictures (N, H, W, 3) into tiles; return the distinct ones and the number of each."""
    n, height, width, channels = pictures.shape
    rows, columns = height // TILE_PX, width // TILE_PX
    cut = pictures.reshape(n, rows, TILE_PX, columns, TILE_PX, channels).swapaxes(2, 3)
    words = np.ascontiguousarray(cut).reshape(n * rows * columns, -1).view(np.uint64)
    # Sorting the tiles themselves takes minutes where sorting a number of each takes seconds.
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64)
    _, first, numbers = np.unique(words @ factors, return_index=True, return_inverse=True)
    tiles = words[first]
    assert all(np.array_equal(tiles[numbers[i::8]], words[i::8]) for i in range(8))
    shape = (len(tiles), TILE_PX, TILE_PX, channels)
    return tiles.view(np.uint8).reshape(shape), numbers.reshape(n, rows, columns)


def untiled(tiles: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Put pictures together again.

    >>> pictures = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3)).astype(np.uint8)
    >>> np.array_equal(untiled(*tiled(pictures)), pictures)
    True
    """
    n, rows, columns = numbers.shape
    cut = tiles[numbers].swapaxes(2, 3)
    return cut.reshape(n, rows * TILE_PX, columns * TILE_PX, tiles.shape[-1])


def pack(folder: Path, target: Path, most: int | None) -> str:
    """Write one data set's episodes, up to `most`, to one file."""
    with h5py.File(folder / "data" / DATA) as opened:
        file: Any = opened
        names = sorted(file, key=lambda name: int(name.rpartition("_")[2]))[:most]
        paths: list[str] = []
        file[names[0]].visititems(
            lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None
        )
        columns = {path: [_read(file, f"{name}/{path}") for name in names] for path in paths}
        attributes = [
            [int(file[name].attrs[key]) for key in ("id", "seed", "total_steps")] for name in names
        ]
    target.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(target, "wb", preset=6) as out:
        header = {"attributes": attributes, "paths": {}}
        arrays: list[np.ndarray] = []
        for path, values in columns.items():
            lengths = [len(value) for value in values]
            joined = np.concatenate(values)
            parts = [joined]
            if joined.ndim == 4 and not any(side % TILE_PX for side in joined.shape[1:3]):
                tiles, numbers = tiled(joined)
                if len(tiles) < 2**16:
                    parts = [tiles, numbers.astype(np.uint16)]
            kept = [(part.dtype.str, part.shape) for part in parts]
            header["paths"][path] = {"lengths": lengths, "parts": kept}
            arrays += parts
        text = json.dumps(header).encode()
        out.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            out.write(_columns(array).tobytes())
    metadata = json.loads((folder / "data" / METADATA).read_text())
    metadata["total_episodes"] = len(names)
    metadata["total_steps"] = sum(steps for _, _, steps in attributes)
    target.with_suffix(".json").write_text(json.dumps(metadata))
    return f"{target.name}: {len(names):,} episodes, {target.stat().st_size / 1e6:.1f} MB"


def _read(file: Any, path: str) -> np.ndarray:
    # h5py's own objects take several times as long to make as HDF5 to read a short episode.
    dataset = h5d.open(file.id, path.encode())
    array = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5s.ALL, h5s.ALL, array)
    return array


def _columns(array: np.ndarray) -> np.ndarray:
    """Put bytes of equal place together: floats compress better so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T


def _values(data: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    kind = np.dtype(dtype)
    columns = np.frombuffer(data, np.uint8).reshape(kind.itemsize, -1)
    return np.ascontiguousarray(columns.T).reshape(-1).view(kind).reshape(shape)


def unpack(source: Path, root: Path) -> str:
    """Write one data set as it was, its pictures not compressed."""
    with lzma.open(source) as packed:
        header = json.loads(packed.read(int.from_bytes(packed.read(8), "little")))
        columns = {}
        for path, about in header["paths"].items():
            parts = []
            for dtype, shape in about["parts"]:
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                parts.append(_values(packed.read(size), dtype, shape))
            columns[path] = (parts, np.cumsum([0, *about["lengths"]]))
    folder = root / NAMESPACE / source.name.removesuffix(".xz").replace("+", "/") / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / DATA, "w") as file:
        for i, (index, seed, steps) in enumerate(header["attributes"]):
            arrays = dict(_episode(columns, i))
            write_episode(file, index, seed=seed, timesteps=steps, arrays=arrays)
    metadata = json.loads(source.with_suffix(".json").read_text())
    metadata["dataset_size"] = round((folder / DATA).stat().st_size / 1e6, 1)
    (folder / METADATA).write_text(json.dumps(metadata))
    return f"{source.name}: {len(header['attributes']):,} episodes"


def _episode(columns: dict, i: int) -> Iterator[tuple[str, StoredArray]]:
    for path, (parts, ends) in columns.items():
        cut = slice(ends[i], ends[i + 1])
        array = untiled(parts[0], parts[1][cut]) if len(parts) == 2 else parts[0][cut]
        data = np.ascontiguousarray(array).tobytes()
        stored = StoredArray(
            dtype=array.dtype.str, shape=array.shape, chunk_rows=None, parts=(data,)
        )
        yield path, stored


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["pack", "unpack"])
    parser.add_argument("folder", type=Path, help="where the packed files are")
    parser.add_argument("--most", type=int, help="episodes of each data set")
    parser.add_argument("--tasks", nargs="*", help="all that were recorded if not given")
    parser.add_argument("--versions", nargs="*", default=["expert-v0", "held-out-v0"])
    options = parser.parse_args()
    root = Path(get_dataset_path())
    if options.what == "pack":
        found = sorted((root / NAMESPACE).glob("*/*/data"))
        jobs = [
            (data.parent, options.folder / f"{data.parent.parent.name}+{data.parent.name}.xz")
            for data in found
            if (not options.tasks or data.parent.parent.name in options.tasks)
            and data.parent.name in options.versions
        ]
        calls = [partial(pack, folder, target, options.most) for folder, target in jobs]
    else:
        calls = [partial(unpack, path, root) for path in sorted(options.folder.glob("*.xz"))]
        calls.sort(key=lambda call: -call.args[0].stat().st_size)
    with ProcessPoolExecutor(min(len(calls), os.cpu_count() or 1)) as pool:
        for future in [pool.submit(call) for call in calls]:
            print(future.result(), flush=True)


if __name__ == "__main__":
    main()
