import pickle
import shutil
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from examples.four_rooms import four_rooms_episode
from mugato.data.cache import MemoryBudget
from mugato.data.formats.minari.read import complete_dataset_id, open_minari

LENGTHS = (3, 1, 4)
SPACES = {
    "observation_space": spaces.Dict(
        image=spaces.Box(0, 255, (33, 40, 3), np.uint8),
        pair=spaces.Tuple([spaces.Discrete(5), spaces.MultiBinary(3)]),
        words=spaces.Text(20),
    ),
    "action_space": spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([3, 4])]),
}


@pytest.fixture(autouse=True)
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def buffer(timesteps: int) -> EpisodeBuffer:
    rng = np.random.default_rng(timesteps)
    n = timesteps + 1
    return EpisodeBuffer(
        seed=timesteps,
        observations={
            "image": rng.integers(256, size=(n, 33, 40, 3), dtype=np.uint8),
            "pair": (rng.integers(5, size=n), rng.integers(2, size=(n, 3), dtype=np.int8)),
            "words": [f"word {'x' * t}" for t in range(n)],
        },
        actions=(
            rng.uniform(-1, 1, (timesteps, 2)).astype(np.float32),
            rng.integers(3, size=(timesteps, 2)),
        ),
        rewards=list(rng.uniform(size=timesteps)),
        terminations=[False] * timesteps,
        truncations=[False] * (timesteps - 1) + [True],
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def write(dataset_id: str = "theirs-v1", buffers=None, **options) -> minari.MinariDataset:
    """Write a data set by Minari itself."""
    return minari.create_dataset_from_buffers(
        dataset_id,
        [buffer(n) for n in LENGTHS] if buffers is None else buffers,
        **{**SPACES, "jpeg_encoding": False, **options},
    )


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_our_reader_equals_minaris():
    dataset = write()
    source = open_minari("theirs-v1")
    assert source.lengths == LENGTHS
    for i, data in enumerate(dataset.iterate_episodes()):
        episode, n = source[i], LENGTHS[i]
        seen = data.observations
        np.testing.assert_equal(
            dict(episode.observations),
            {
                "image": seen["image"][:n],
                "pair/0": seen["pair"][0][:n],
                "pair/1": seen["pair"][1][:n],
                "words": np.array(seen["words"][:n], dtype=object),
            },
        )
        expected = {"0": data.actions[0], "1": data.actions[1]}
        np.testing.assert_equal(dict(episode.actions), expected)
        np.testing.assert_allclose(episode.rewards, data.rewards, rtol=1e-6)


def test_minaris_jpeg_pictures_are_read():
    dataset = write(jpeg_encoding=True)
    source = open_minari("theirs-v1")
    np.testing.assert_array_equal(
        source[2].observations["image"], dataset[2].observations["image"][:4]
    )


def test_arrow_files_are_read():
    pytest.importorskip("pyarrow")
    write(data_format="arrow")
    assert open_minari("theirs-v1").lengths == LENGTHS
    assert open_minari("theirs-v1")[2].observations["words"][3] == "word xxx"


def test_without_room_in_memory_the_same_episodes_are_read_anew():
    write()
    whole = open_minari("theirs-v1")
    frugal = open_minari("theirs-v1", budget=MemoryBudget(1))
    for i in (0, 2, 1, 2, 0):
        np.testing.assert_equal(dict(frugal[i].observations), dict(whole[i].observations))
    assert whole[1] is whole[1]
    first = frugal[1]
    assert frugal[1] is first
    assert frugal[2] is not first and frugal[1] is not first


@pytest.mark.parametrize("options", [{}, {"jpeg_encoding": True}])
@pytest.mark.parametrize("allowed", [1, 2**31])
def test_a_window_is_a_part_of_its_episode(options: dict, allowed: int):
    write(**options)
    source = open_minari("theirs-v1", budget=MemoryBudget(allowed))
    for i, start, stop in ((2, 1, 3), (0, 0, 3), (1, 0, 1), (2, 3, 4)):
        window, part = source.window(i, start, stop), source[i].window(start, stop)
        assert window.name == part.name
        np.testing.assert_equal(dict(window.observations), dict(part.observations))
        np.testing.assert_equal(dict(window.actions), dict(part.actions))
        np.testing.assert_array_equal(window.rewards, part.rewards)
    with pytest.raises(ValueError, match="episode 2 has 4 timesteps, not those from 3 up to 5"):
        source.window(2, 3, 5)


def test_a_source_travels_to_other_processes_without_its_episodes():
    write()
    source = open_minari("theirs-v1")
    small = len(pickle.dumps(source))
    assert len(source[2]) == 4
    assert len(pickle.dumps(source)) == small
    assert len(pickle.loads(pickle.dumps(source))[2]) == 4


def test_indices_are_checked():
    write()
    with pytest.raises(IndexError, match="has 3 episodes, no episode 3"):
        open_minari("theirs-v1")[3]
    assert len(list(open_minari("theirs-v1"))) == 3


def test_unknown_ids_name_the_similar_ones():
    write("one/two/names-v0")
    with pytest.raises(ValueError, match=r"no Minari data set 'one/names-v0' .*one/two/names-v0"):
        open_minari("one/names")


def test_an_empty_data_set_is_refused():
    write("empty-v0", buffers=[])
    with pytest.raises(ValueError, match=r"'empty-v0' in .* has no episodes"):
        open_minari("empty")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: truncate(data / "main_data.hdf5"), "truncated file"),
        (
            lambda data: (data / "main_data.hdf5").unlink(),
            "main_data.hdf5 cannot be read: .*No such",
        ),
        (lambda data: (data / "metadata.json").write_text("{"), "cannot be read"),
        (lambda data: (data / "metadata.json").write_text("{}"), "cannot be read"),
        (lambda data: (data / "metadata.json").write_text("["), "metadata.json cannot be read"),
        (lambda data: (data / "metadata.json").unlink(), "metadata.json cannot be read: .*No such"),
        (lambda data: shutil.rmtree(data) or data.mkdir(), "metadata.json cannot be read"),
    ],
)
def test_damaged_files_are_named_in_one_line(damage, message: str, minari_folder: Path):
    write()
    damage(minari_folder / "theirs-v1" / "data")
    with pytest.raises(ValueError, match=rf"'theirs-v1' in .*{message}") as caught:
        open_minari("theirs-v1")
    assert "\n" not in str(caught.value)


def test_a_missing_leaf_is_damage(minari_folder: Path):
    write()
    with h5py.File(minari_folder / "theirs-v1/data/main_data.hdf5", "a") as file:
        del file["episode_1/observations/words"]
    with pytest.raises(ValueError, match=r"'theirs-v1', episode 1, in .*no episode_1/obs.*words"):
        open_minari("theirs-v1")[0]  # its neighbors are read with it


def test_nan_is_named_with_its_place():
    rows = np.zeros((3, 2), np.float32)
    rows[1, 0] = np.nan
    write(
        "nan-v0",
        buffers=[
            EpisodeBuffer(
                observations=rows,
                actions=np.zeros(2, np.int64),
                rewards=[0.0, 0.0],
                terminations=[False, True],
                truncations=[False, False],
            )
        ],
        observation_space=spaces.Box(-1, 1, (2,)),
        action_space=spaces.Discrete(2),
    )
    with pytest.raises(ValueError, match=r"nan-v0 episode 0: observation .* timestep 1 holds NaN"):
        open_minari("nan-v0")[0]


def test_an_unsupported_space_is_named(minari_folder: Path):
    write("big-v0", buffers=[], action_space=spaces.Discrete(5000))
    with pytest.raises(ValueError, match="'big-v0': action: 5000 discrete values"):
        open_minari("big-v0")


@pytest.mark.parametrize("name", ["", "a b", "../x", "/x", "a//b-v0", "-v0/", "a/b"])
def test_malformed_ids_are_refused(name: str):
    with pytest.raises(ValueError, match="is no Minari id"):
        complete_dataset_id(name)


def test_four_rooms_says_how_to_record_it():
    with pytest.raises(ValueError, match="mugato record minigrid-four-rooms"):
        four_rooms_episode()


def test_four_rooms_equals_the_general_source():
    pytest.importorskip("minigrid")
    from mugato.recording.recorder import RecordConfig, record
    from mugato.tasks.registry import TASKS

    record(TASKS["minigrid-four-rooms"], RecordConfig(episodes=2))
    spec, episode = four_rooms_episode(1)
    source = open_minari("mugato/minigrid-four-rooms/expert-v0")
    assert spec == source.spec
    np.testing.assert_equal(dict(episode.observations), dict(source[1].observations))
    np.testing.assert_equal(dict(episode.actions), dict(source[1].actions))
    assert gymnasium.spaces.Discrete(7).contains(episode.actions["action"][0])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
