import io
import time
from dataclasses import replace
from pathlib import Path

import all_spaces
import gymnasium
import h5py
import minari
import numpy as np
import pytest
from PIL import Image

from mugato.data.formats.minari.read import open_minari
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.references import reference
from mugato.tasks.registry import TASKS
from mugato.tasks.rollout import run_episode
from mugato.tasks.task import Task
from tests.recording.recording import record


def task_with(expert: str, **changes) -> Task:
    task = gymnasium_task(all_spaces.ENV_ID, expert=f"all_spaces:{expert}")
    return replace(task, **changes)


def contents(dataset_id: str, root: Path) -> list:
    with h5py.File(root / dataset_id / "data" / "main_data.hdf5") as file:
        found = []
        file.visititems(lambda name, item: found.append((name, dict(item.attrs), values(item))))
        return found


def values(item) -> list | None:
    return item[()].tolist() if isinstance(item, h5py.Dataset) else None


@pytest.mark.thorough
def test_any_number_of_workers_records_the_same(minari_folder: Path):
    task = task_with("fails_at_times")
    one = record(task, episodes=7, dataset="one")
    two = record(task, episodes=7, dataset="two", workers=2)
    assert one.dropped == two.dropped
    assert len(one.dropped) > 0
    assert contents("one-v0", minari_folder) == contents("two-v0", minari_folder)


def test_every_space_is_recorded_and_read_back_equal():
    task = task_with("expert")
    record(task, episodes=2, dataset="all")
    source = open_minari("all")
    env = task.make_env()
    for seed in (0, 1):
        rollout = run_episode(env, task.make_expert, seed=seed, max_episode_steps=9)
        episode = source[seed]
        for t, (observation, action) in enumerate(
            zip(rollout.observations[:-1], rollout.actions, strict=True)
        ):
            seen = {path: leaf[t] for path, leaf in episode.observations.items()}
            one, bits, position = observation["sensors"]
            expected = {
                **{key: observation[key] for key in ("image", "grey", "words", "counts")},
                **{"sensors/0": one, "sensors/1": bits, "sensors/2": position},
            }
            np.testing.assert_equal(seen, expected)
            done = {path: leaf[t] for path, leaf in episode.actions.items()}
            kind, strength = action["tool"]
            flat = {"move": action["move"], "flags": action["flags"]}
            np.testing.assert_equal(done, {**flat, "tool/0": kind, "tool/1": strength})
    assert source[0].observations["image"].dtype == np.uint8
    assert source[0].observations["words"][3] == "step 3 ß"


def test_plain_minari_opens_it_and_makes_the_environment():
    report = record(task_with("expert"), episodes=2, dataset="my/own/all-v3")
    dataset = minari.load_dataset("my/own/all-v3")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 10)
    assert dataset[1].observations["words"] == ["", *(f"step {t} ß" for t in range(1, 6))]
    assert dataset[1].terminations.tolist() == [False] * 4 + [True]
    assert dataset.recover_environment().observation_space == dataset.observation_space
    assert "AllSpaces" in repr(dataset[0]) or repr(dataset[0])
    assert minari.list_local_datasets()["my/own/all-v3"]["mugato"]["return_mean"] == 1.0
    assert (report.dataset_id, report.timesteps, report.return_mean) == ("my/own/all-v3", 10, 1.0)


def test_pictures_and_missions_of_babyai_survive():
    pytest.importorskip("minigrid")
    task = TASKS["babyai-go-to-obj"]
    record(task, episodes=3, action_noise=0.0)
    source = open_minari("mugato/babyai-go-to-obj/expert-v0")
    env = task.make_env()
    rollout = run_episode(env, task.make_expert, seed=2, max_episode_steps=64)
    assert len(source[2]) == len(rollout)
    for t in range(len(rollout)):
        assert source[2].observations["mission"][t] == rollout.observations[t]["mission"]
        np.testing.assert_array_equal(
            source[2].observations["image"][t], rollout.observations[t]["image"]
        )
    rebuilt = minari.load_dataset(task.dataset_id).recover_environment()
    np.testing.assert_equal(rebuilt.reset(seed=2)[0], rollout.observations[0])


def test_failing_seeds_are_dropped_and_counted():
    task = task_with("expert", failure_return=0.0)
    report = record(task, episodes=5, dataset="five")
    assert report.dropped == {3: "failed with return 0"}
    assert report.dropped_by_cause == {"failed": 1}
    assert (report.episodes, report.seeds_tried) == (5, 6)
    seeds = minari.load_dataset("five-v0").storage.get_episode_metadata(range(5))
    assert [episode["seed"] for episode in seeds] == [0, 1, 2, 4, 5]


@pytest.mark.thorough
def test_a_share_of_the_experts_return_can_be_asked_for_where_returns_are_negative():
    known = reference("pendulum")
    assert known is not None and known.random < known.expert < 0
    everything = record(TASKS["pendulum"], episodes=8, dataset="all")
    enough = known.random + 0.95 * (known.expert - known.random)
    low = {seed: r for seed, r in enumerate(everything.returns) if r < enough}
    assert 0 < len(low) < 8
    report = record(TASKS["pendulum"], episodes=8 - len(low), keep_above=0.95)
    assert report.returns == [r for r in everything.returns if r >= enough]
    assert report.dropped == {
        seed: f"returned {r:g}, less than {enough:g}" for seed, r in low.items()
    }
    assert report.dropped_by_cause == {"return too low": len(low)}


def test_a_share_of_an_unknown_return_is_refused():
    with pytest.raises(ValueError, match=r"AllSpaces-v0: no returns of the expert .* are known"):
        record(task_with("expert"), episodes=2, dataset="x", keep_above=0.8)


def test_failures_are_kept_on_request_but_errors_are_not():
    task = task_with("fails_at_times", failure_return=0.0)
    report = record(task, episodes=4, dataset="kept", keep_failures=True, first_seed=3)
    assert all("out of its depth" in reason for reason in report.dropped.values())


def test_under_noise_the_executed_actions_lie_beside_the_experts():
    task = task_with("expert", action_noise=0.4)
    record(task, episodes=2, dataset="noisy")
    record(task, episodes=2, dataset="noisy-jpeg", jpeg=True)
    data = minari.load_dataset("noisy-v0")[1]
    rollout = run_episode(
        task.make_env(), task.make_expert, seed=1, max_episode_steps=9, action_noise=0.4
    )
    executed = data.infos["executed_action"]
    for t, (chosen, done) in enumerate(zip(rollout.actions, rollout.executed, strict=True)):
        np.testing.assert_equal(data.actions["move"][t], chosen["move"])
        np.testing.assert_equal(executed["move"][t], done["move"])
        np.testing.assert_equal(executed["tool"]["_index_1"][t], done["tool"][1])
    assert (executed["move"] != data.actions["move"]).any()
    for source in (open_minari("noisy"), open_minari("noisy-jpeg")):
        episode = source[1]
        assert episode.executed is not None
        np.testing.assert_equal(episode.executed["move"], executed["move"])
        np.testing.assert_equal(episode.executed["tool/1"], executed["tool"]["_index_1"])
        np.testing.assert_equal(source.read(1, 2, 4).executed, episode.window(2, 4).executed)
    record(task, episodes=1, dataset="quiet", action_noise=0.0)
    assert minari.load_dataset("quiet-v0")[0].infos == {}
    assert open_minari("quiet")[0].executed is None


def test_pictures_are_stored_as_jpeg_on_request_only():
    task = task_with("expert")
    record(task, episodes=2, dataset="exact")
    record(task, episodes=2, dataset="small", jpeg=True)
    exact, small = open_minari("exact"), open_minari("small")
    for path, values in exact[1].observations.items():
        seen = small[1].observations[path]
        if path in ("image", "grey"):
            for frame, lossy in zip(values, seen, strict=True):
                np.testing.assert_array_equal(lossy, through_jpeg(frame))
            assert (seen != values).any()
        else:
            np.testing.assert_array_equal(seen, values)


def through_jpeg(frame: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="JPEG")
    return np.array(Image.open(file))


class Stacked(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 1), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros((84, 84, 1), np.uint8), {}

    def step(self, action):
        return self.reset()[0], 0.0, True, False, {}


def test_pictures_that_cannot_be_jpeg_are_named(minari_folder: Path):
    task = task_with("expert", make_env=Stacked, make_expert=lambda env: lambda observation: 1)
    with pytest.raises(ValueError, match=r"pictures of shape \(84, 84, 1\) cannot be JPEG"):
        record(task, episodes=1, dataset="stacked", jpeg=True)
    assert list(minari_folder.iterdir()) == []


def test_an_expert_that_always_fails_leaves_nothing(minari_folder: Path):
    task = task_with("expert", failure_return=1.0)
    with pytest.raises(
        ValueError, match=r"no demonstration came of 20 of 20 seeds, .* failed with return 1"
    ):
        record(task, episodes=5, dataset="none")
    assert list(minari_folder.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_action_outside_its_space_stops_the_recording(workers: int, minari_folder: Path):
    with pytest.raises(ValueError, match=r"AllSpaces-v0, seed 0: action/tool/1 .*1.5.* is outside"):
        record(task_with("too_strong"), episodes=5, dataset="none", workers=workers)
    assert list(minari_folder.iterdir()) == []


def test_an_existing_data_set_is_only_replaced_on_request_and_only_when_complete():
    record(task_with("expert"), episodes=2, dataset="mine")
    with pytest.raises(
        ValueError, match=r"data set 'mine-v0' is recorded already, in .*mine-v0; nothing is added"
    ):
        record(task_with("expert"), episodes=3, dataset="mine")
    with pytest.raises(ValueError, match="no demonstration came of 20"):
        record(task_with("expert", failure_return=1.0), episodes=3, dataset="mine", overwrite=True)
    assert len(open_minari("mine")) == 2
    record(task_with("expert"), episodes=3, dataset="mine", overwrite=True)
    assert len(open_minari("mine")) == 3


def test_progress_is_reported_after_each_episode():
    seen = []
    record(
        task_with("expert", failure_return=0.0),
        episodes=4,
        dataset="p",
        progress=lambda kept, dropped: seen.append((kept, dropped)),
    )
    assert seen == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"action_noise": 2.0}, r"action_noise must be in \[0, 1\], got 2.0"),
        ({"keep_above": 80.0}, r"keep_above is a share in \[0, 1\], got 80"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"first_seed": 999_999}, "demonstrations use seeds below 1000000"),
        ({"dataset": "no spaces"}, "'no spaces' is no Minari id"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        record(task_with("expert"), **{"episodes": 2, "dataset": "x", **options})


def test_a_task_without_expert_cannot_be_recorded():
    with pytest.raises(ValueError, match="AllSpaces-v0 has no expert"):
        record(gymnasium_task(all_spaces.ENV_ID), dataset="x")


def test_a_task_that_cannot_be_pickled_is_recorded_in_this_process():
    task = task_with("expert", make_expert=lambda env: all_spaces.expert)
    with pytest.raises(ValueError, match="use workers=1"):
        record(task, episodes=2, dataset="x", workers=2)
    assert record(task, episodes=2, dataset="x").episodes == 2


def test_an_unknown_data_set_is_refused_without_searching():
    started = time.process_time()
    with pytest.raises(ValueError, match="no Minari data set 'nothing-v0'"):
        open_minari("nothing")
    assert time.process_time() - started < 2
