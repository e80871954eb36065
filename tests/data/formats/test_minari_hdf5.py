from pathlib import Path

import h5py
import numpy as np
import pytest

from mugato.data.formats.minari.layout import (
    CHUNK_BYTES,
    episode_arrays,
    read_array,
    read_length,
    stored,
    write_episode,
)


def write(path: Path, frames: np.ndarray) -> None:
    timesteps = len(frames) - 1
    arrays = episode_arrays(
        observations={"image": frames},
        actions=(np.arange(timesteps), ["äh"] * timesteps),
        rewards=np.zeros(timesteps),
        terminated=True,
        infos={"executed_action": np.ones(timesteps)},
    )
    packed = {name: stored(array) for name, array in arrays.items()}
    with h5py.File(path, "w") as file:
        write_episode(file, 0, seed=3, timesteps=timesteps, arrays=packed)


@pytest.mark.parametrize("shape", [(2, 3), (9, 32, 32, 3), (101, 84, 84, 3), (3, 1100, 1100)])
def test_what_is_written_is_read(shape: tuple[int, ...], tmp_path: Path):
    path = tmp_path / "file"
    frames = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    write(path, frames)
    with h5py.File(path) as file:
        assert read_length(file, 0) == len(frames) - 1
        np.testing.assert_array_equal(read_array(file, 0, "observations/image"), frames)
        np.testing.assert_array_equal(
            read_array(file, 0, "observations/image", range(1, 2)), frames[1:2]
        )
        assert read_array(file, 0, "actions/_index_1", range(0, 1)).tolist() == ["äh"]
        group = file["episode_0"]
        assert dict(group.attrs) == {"id": 0, "seed": 3, "total_steps": len(frames) - 1}
        assert group["terminations"][-1] and not group["truncations"][:].any()
        assert group["infos/executed_action"][0] == 1


def test_a_window_of_a_long_episode_is_read_without_the_rest(tmp_path: Path):
    path = tmp_path / "file"
    frames = np.random.default_rng(0).integers(256, size=(101, 84, 84, 3), dtype=np.uint8)
    write(path, frames)
    with h5py.File(path) as file:
        image = file["episode_0/observations/image"]
        assert image.chunks[0] * frames[0].nbytes <= CHUNK_BYTES < frames.nbytes
        first = image.id.get_chunk_info(0)
    with path.open("r+b") as file:  # whoever reads the first chunk will notice
        file.seek(first.byte_offset)
        file.write(b"\0" * first.size)
    with h5py.File(path) as file:
        window = read_array(file, 0, "observations/image", range(90, 95))
        np.testing.assert_array_equal(window, frames[90:95])
        with pytest.raises(OSError):
            read_array(file, 0, "observations/image", range(0, 5))


def test_the_same_data_make_the_same_bytes(tmp_path: Path):
    frames = np.zeros((9, 32, 32, 3), np.uint8)
    write(tmp_path / "one", frames)
    write(tmp_path / "two", frames)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
