"""LeRobot data sets: every value where it belongs, random access, faults named."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("av")

from mugato.data.cache import MemoryBudget
from mugato.data.formats.lerobot import open_lerobot
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.episode import validate
from tests.data.formats.lerobot_files import (
    FPS,
    HEIGHT,
    LENGTHS,
    PICTURE,
    TASKS,
    VIDEO,
    WIDTH,
    Files,
    level,
    state,
)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(folder=tmp_path / "robot")


def test_every_value_stands_where_it_belongs(files):
    source = open_source(f"lerobot:{files.write()}", "train")
    assert isinstance(source, Source)
    assert source.lengths == LENGTHS[:3] and len(source) == 3
    assert source.spec.action_leaves["action"].high == (103.0, 0.0)
    for e in (2, 0, 1):
        episode = validate(source[e], source.spec)
        times = range(LENGTHS[e])
        seen = episode.observations
        assert set(seen) == {"images.top", "images.wrist", "state", "instruction"}
        assert seen["instruction"].tolist() == [TASKS[e % 2]] * len(times)
        np.testing.assert_allclose(seen["state"], [state(e, t) for t in times], rtol=1e-6)
        np.testing.assert_allclose(episode.actions["action"], [[100 + e, -t / 2] for t in times])
        assert episode.rewards.tolist() == list(times)
        wrist = seen["images.wrist"]
        assert wrist.shape == (len(times), HEIGHT, WIDTH, 3)
        assert wrist[:, 3, 5].tolist() == [[level(e, t), 0, 255] for t in times]
        top = seen["images.top"].astype(int)
        assert top.shape == wrist.shape
        grays = np.array([level(e, t) for t in times])
        assert np.abs(top - grays[:, None, None, None]).max() <= 4  # the codec's loss
    with pytest.raises(IndexError, match="has 3 episodes, no episode 3"):
        source[3]


@pytest.mark.parametrize("codec", ["mpeg4", "libsvtav1"])
def test_other_codecs(files, codec, capfd):
    files.codec = codec
    top = open_lerobot(str(files.write()))[2].observations["images.top"][:, 10, 10, 0]
    assert np.abs(top.astype(int) - [level(2, t) for t in range(6)]).max() <= 5


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="asks the scheduler")
def test_writing_videos_leaves_the_tests_their_priority(files):
    files.codec = "libsvtav1"
    files.write()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_splits_are_the_declared_ones(files):
    source = open_lerobot(str(files.write()), "test")
    assert source.lengths == LENGTHS[3:]
    assert source[0].observations["images.wrist"][0, 0, 0].tolist() == [level(3, 0), 0, 255]
    with pytest.raises(ValueError, match="no split 'dev'; its splits are train, test"):
        open_lerobot(str(files.folder), "dev")


def test_pictures_can_be_made_small(files):
    source = open_lerobot(str(files.write()), size_px=16)
    episode = source[0]
    assert source.spec.observation_leaves["images.top"].shape == (16, 16, 3)
    assert {episode.observations[name].shape for name in ("images.top", "images.wrist")} == {
        (4, 16, 16, 3)
    }


def test_features_can_be_left_out(files):
    source = open_lerobot(str(files.write()), without=(VIDEO,))
    assert "images.top" not in source[0].observations
    with pytest.raises(ValueError, match=r"no features \['nothing'\]"):
        open_lerobot(str(files.folder), without=("nothing",))


def test_integers_with_few_values_are_discrete(files):
    files.columns["action"] = [[t % 3] for t in range(sum(LENGTHS))]
    files.info["features"]["action"] = {"dtype": "int64", "shape": [1]}
    files.stats["action"] = {"min": [0], "max": [2]}
    source = open_lerobot(str(files.write()))
    assert source.spec.action_leaves["action"].kind == "discrete"
    assert source[0].actions["action"].tolist() == [[0], [1], [2], [0]]


def test_single_numbers_may_stand_outside_lists(files):
    files.columns["action"] = [0.5] * sum(LENGTHS)
    files.info["features"]["action"]["shape"] = [1]
    del files.stats["action"]
    source = open_lerobot(str(files.write()))
    assert not source.spec.action_leaves["action"].bounded
    assert source[1].actions["action"].tolist() == [[0.5]]


def test_a_source_travels_without_its_episodes(files):
    source = open_lerobot(str(files.write()))
    small = len(pickle.dumps(source))
    before = source[2]
    assert source[2] is before
    assert len(pickle.dumps(source)) == small
    again = pickle.loads(pickle.dumps(source))[2]
    np.testing.assert_equal(dict(again.observations), dict(before.observations))


def test_windows_are_read_without_the_rest(files):
    folder = files.write()
    whole = open_lerobot(str(folder))
    frugal = open_lerobot(str(folder), budget=MemoryBudget(1))
    for index, start, stop in ((2, 1, 4), (2, 5, 6), (0, 0, 4), (1, 0, 1)):
        window, expected = frugal.window(index, start, stop), whole[index].window(start, stop)
        np.testing.assert_equal(dict(window.observations), dict(expected.observations))
        np.testing.assert_equal(dict(window.actions), dict(expected.actions))
        assert window.rewards.tolist() == expected.rewards.tolist()
        kept = whole.window(index, start, stop)
        np.testing.assert_equal(dict(kept.observations), dict(expected.observations))
    with pytest.raises(ValueError, match="episode 1 has 1 timesteps, not those from 0 up to 2"):
        whole.window(1, 0, 2)


def test_faults_in_a_window_name_the_episodes_timestep(files):
    change(files, PICTURE, 8, {"bytes": b"", "path": "lost.png"})
    source = open_lerobot(str(files.write()), budget=MemoryBudget(1))
    assert len(source.window(2, 0, 3)) == 3
    with pytest.raises(ValueError, match=r"episode 2: .*at timestep 3: no picture"):
        source.window(2, 2, 5)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DATA = "data/chunk-000/file-000.parquet"
MP4 = f"videos/{VIDEO}/chunk-000/file-000.mp4"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: cut(f / DATA), r"file-000\.parquet cannot be read"),
        (lambda f: (f / DATA).unlink(), r"file-000\.parquet cannot be read"),
        (lambda f: cut(f / MP4), r"episode 2, .*top.*file-000\.mp4 cannot be read: Invalid data"),
        (lambda f: (f / MP4).unlink(), r"episode 2.*file-000\.mp4 cannot be read: No such file"),
        (
            lambda f: (f / MP4).write_bytes((f / MP4.replace("000.mp4", "001.mp4")).read_bytes()),
            r"episode 2.*file-000\.mp4 has no frame from 0\.500 to 1\.000 s",
        ),
    ],
)
def test_damaged_files_are_named(files, damage, message):
    damage(files.write())
    source = open_lerobot(str(files.folder))
    with pytest.raises(ValueError, match=message) as caught:
        source[2]
    assert "\n" not in str(caught.value)


def change(files: Files, column: str, row: int, value) -> None:
    files.columns[column][row] = value


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: f.columns.pop("action"), r"file-000\.parquet has no column 'action'"),
        (
            lambda f: change(f, "observation.state", 6, [0.0, np.nan, 0.0]),
            r"episode 2: observation 'state' at timestep 1 holds NaN",
        ),
        (
            lambda f: change(f, "action", 6, [1.0]),
            r"episode 2: 'action': found \[1\.0\], expected shape \(2,\)",
        ),
        (lambda f: change(f, "action", 6, None), r"episode 2: 'action': found None, expected"),
        (
            lambda f: change(f, "action", 6, [999.0, 0.0]),
            r"episode 2: action 'action' at timestep 1 is outside",
        ),
        (lambda f: change(f, "next.reward", 6, None), "'next.reward': 1 values are missing"),
        (
            lambda f: change(f, "episode_index", 6, 1),
            r"episode 2: 'episode_index' at timestep 1 is 1",
        ),
        (lambda f: change(f, "task_index", 6, 7), r"episode 2: 'task_index': no task 7"),
        (
            lambda f: change(f, PICTURE, 6, {"bytes": b"\x89PNG\r\n", "path": None}),
            r"episode 2: 'observation\.images\.wrist' at timestep 1 is no picture",
        ),
        (
            lambda f: change(f, PICTURE, 6, {"bytes": None, "path": "lost.png"}),
            r"episode 2: .*at timestep 1: no picture: .*lost\.png",
        ),
        (
            lambda f: change(f, "timestamp", 6, np.float32(3.0)),
            r"episode 2: 'timestamp' at timestep 1 is 3\.000 s, but at 10 Hz it would be 0\.100",
        ),
    ],
)
def test_faults_in_an_episode_are_named(files, fault, message):
    fault(files)
    source = open_lerobot(str(files.write()))
    assert "action" not in files.columns or len(source[0]) == 4  # the others can be read
    with pytest.raises(ValueError, match=message):
        source[2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda f: f.info.update(codebase_version="v2.1"), r"info\.json: LeRobot format v2\.1"),
        (lambda f: f.info.pop("fps"), r"info\.json has no 'fps'"),
        (lambda f: f.info["features"].pop("action"), r"no observation\.\* or no action among"),
        (lambda f: f.info.update(splits={"train": "0:9"}), "'train' is '0:9', expected 'from:to'"),
        (
            lambda f: f.info["features"]["action"].update(dtype="complex64"),
            "feature 'action' holds complex64",
        ),
        (
            lambda f: f.info["features"][VIDEO].update(info={"is_depth_map": True}),
            r"feature 'observation\.images\.top' is a depth map",
        ),
        (lambda f: f.stats["action"].update(min=[np.nan, 0]), "must be 2 finite numbers each"),
        (lambda f: f.tasks.pop("__index_level_0__"), r"tasks\.parquet has no column '__index"),
        (lambda f: f.episodes.pop("length"), r"episodes/.*parquet has no column 'length'"),
        (lambda f: f.episodes["length"].__setitem__(1, 5), "episode 1 has length 5, but 1 rows"),
        (
            lambda f: (
                f.episodes["length"].__setitem__(1, 0),
                f.episodes["dataset_to_index"].__setitem__(1, 4),
            ),
            "episode 1 has no timesteps",
        ),
        (lambda f: f.episodes["episode_index"].reverse(), "episode_index must count from 0"),
    ],
)
def test_faults_in_the_description_are_named(files, fault, message):
    fault(files)
    with pytest.raises(ValueError, match=message):
        open_lerobot(str(files.write()))


def test_a_missing_description_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"meta/info\.json cannot be read"):
        open_lerobot(str(tmp_path))


def test_without_a_network_an_id_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"lerobot:no-such/set: no such folder.* from the Hub"):
        open_lerobot("no-such/set")
    with pytest.raises(ValueError, match="there is no such folder, and it is not the id"):
        open_lerobot("no-such-folder")


def test_what_lerobot_recorded_is_found_by_its_id(files, monkeypatch):
    folder = files.write()
    monkeypatch.setenv("HF_LEROBOT_HOME", str(folder.parent))
    assert len(open_lerobot("robot")) == 3


def test_another_episodes_frames_are_not_read(files):
    starts = files.episodes[f"videos/{VIDEO}/from_timestamp"]
    starts[0] += 1 / FPS
    with pytest.raises(
        ValueError, match=r"4 timesteps of episode 0 at 10 Hz end at 0\.500 .* 1 begins at 0\.400 s"
    ):
        open_lerobot(str(files.write()))


def test_a_last_episode_that_begins_late_is_refused(files):
    files.episodes[f"videos/{VIDEO}/from_timestamp"][2] += 1 / FPS
    source = open_lerobot(str(files.write()))
    with pytest.raises(ValueError, match=r"episode 2, .*no frame at 1\.100 s, that of timestep 5"):
        source[2]


def test_a_video_of_another_rate_is_refused(files):
    files.info["fps"] = 8
    files.columns["timestamp"] = [np.float32(t / 8) for t in files.columns["frame_index"]]
    starts = f"videos/{VIDEO}/from_timestamp"
    files.episodes[starts] = [start * FPS / 8 for start in files.episodes[starts]]
    source = open_lerobot(str(files.write()))
    with pytest.raises(ValueError, match=r"episode 0, .*no frame at 0\.\d+ s, that of timestep"):
        source[0]


def test_features_of_the_same_name_are_told_apart(files):
    for key, start in (("observation.gripper", 0), ("action.gripper", 50), ("actions.arm", 90)):
        files.columns[key] = [[float(start + t)] for t in files.columns["frame_index"]]
        files.info["features"][key] = {"dtype": "float32", "names": None, "shape": [1]}
        files.stats[key] = {"min": [0.0], "max": [99.0]}
    episode = open_lerobot(str(files.write()))[0]
    assert episode.observations["gripper"][:, 0].tolist() == [0, 1, 2, 3]
    assert episode.actions["gripper"][:, 0].tolist() == [50, 51, 52, 53]
    assert episode.actions["arm"][:, 0].tolist() == [90, 91, 92, 93]
    assert episode.actions["action"].shape == (4, 2)


def test_an_older_format_names_what_converts_it(files):
    files.info["codebase_version"] = "v2.1"
    with pytest.raises(ValueError, match=r"format v2\.1.* python -m lerobot.*convert_dataset_v21"):
        open_lerobot(str(files.write()))
