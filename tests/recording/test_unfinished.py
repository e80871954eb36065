"""Recordings that end before they are complete, by a signal, an error or a full disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import all_spaces
import minari
import numpy as np
import pytest

from mugato.data.formats.minari.layout import stored
from mugato.data.formats.minari.read import open_minari
from mugato.recording.demonstrate import Demonstration, RejectedEpisode
from mugato.recording.recorder import RecordReport
from mugato.recording.store import RecordingStore
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.task import Task
from tests.recording.recording import record

EPISODES = 8

# Records with the arguments EPISODES, WORKERS and a moment at which to die by SIGKILL: the call
# number N of a function, "NAME N", be it Python's or C's. Prints after each episode.
SCRIPT = """
import os, resource, signal, sys
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.recording.recorder import RecordConfig, record

episodes, workers, moment = sys.argv[1:4]
name, _, number = moment.partition(" ")
calls = 0

def die_at_moment(frame, event, argument):
    global calls
    called = argument.__name__ if event == "c_call" else frame.f_code.co_name
    if event in ("call", "c_call") and called == name:
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

def progress(kept, dropped):
    print(kept, flush=True)
    if name == "disk" and kept == int(number):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

task = gymnasium_task("all_spaces:AllSpaces-v0", expert="all_spaces:fails_at_times")
if number and name != "disk":
    sys.setprofile(die_at_moment)
config = RecordConfig(episodes=int(episodes), workers=int(workers), dataset="it")
record(task, config, on_progress=progress)
"""


def start(moment: str, *, episodes: int = EPISODES, workers: int = 1) -> subprocess.Popen:
    path = os.pathsep.join([*sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(episodes), str(workers), moment],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def task_with(expert: str = "fails_at_times", **changes) -> Task:
    task = gymnasium_task(all_spaces.ENV_ID, expert=f"all_spaces:{expert}")
    return replace(task, **changes)


def record_it(**changes) -> RecordReport:
    return record(task_with(), **{"episodes": EPISODES, "dataset": "it", **changes})


def bytes_of(root: Path, name: str = "it-v0") -> list[bytes]:
    data = root / name / "data"
    metadata = (data / "metadata.json").read_bytes().replace(name.encode(), b"")
    return [(data / "main_data.hdf5").read_bytes(), metadata]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    root = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        record_it()
    return bytes_of(root)


@pytest.mark.parametrize(
    "moment",
    [
        "executemany 3",  # an episode is being written to the store
        "write_episode 3",  # the data set is half written
        "unlink 2",  # the data set is there, and the store still is, too
        *(
            pytest.param(moment, marks=pytest.mark.thorough)
            for moment in (
                "reset 2",  # before the first episode
                "step 12",  # within an episode
                "_count 6",  # an episode was just written to the store
                "_minari_metadata 1",
                "_move_into_place 1",
                "rename 1",
            )
        ),
    ],
)
def test_whenever_it_is_killed_the_next_call_completes_it(
    moment: str, minari_folder: Path, uninterrupted: list[bytes]
):
    process = start(moment)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    if minari.list_local_datasets():
        with pytest.raises(ValueError, match="data set 'it-v0' is recorded already"):
            record_it()
    else:
        record_it()
    assert bytes_of(minari_folder) == uninterrupted
    assert os.listdir(minari_folder) == ["it-v0"]


@pytest.mark.thorough
def test_killed_again_and_again_it_gets_done(minari_folder: Path, uninterrupted: list[bytes]):
    for _ in range(3):  # two seeds each, then death
        start("demonstrate 3").communicate(timeout=300)
        assert minari.list_local_datasets() == {}
    assert record_it().continued == 6
    assert bytes_of(minari_folder) == uninterrupted


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_a_killed_recorder(
    how: signal.Signals, minari_folder: Path, uninterrupted: list[bytes]
):
    process = start("", episodes=100_000, workers=2)
    assert process.stdout is not None
    while process.stdout.readline() != "5\n":
        assert process.poll() is None
    process.send_signal(how)
    process.communicate(timeout=60)  # returns when nobody can write to its output anymore
    assert minari.list_local_datasets() == {}
    assert record_it(workers=2).continued >= 5
    assert bytes_of(minari_folder) == uninterrupted


@pytest.mark.parametrize("moment", ["disk 4", f"disk {EPISODES}"])
def test_a_full_disk_keeps_what_was_recorded(
    moment: str, minari_folder: Path, uninterrupted: list[bytes]
):
    process = start(moment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "OSError: cannot write " in errors
    assert minari.list_local_datasets() == {}
    assert record_it().continued >= 4
    assert bytes_of(minari_folder) == uninterrupted


@pytest.mark.thorough
def test_a_worker_that_dies_keeps_what_was_recorded(minari_folder: Path):
    task, seen = task_with("dies_at_times"), []
    with pytest.raises(ValueError, match="a worker process died"):
        record(
            task,
            episodes=50,
            dataset="it",
            workers=2,
            first_seed=10,  # the first to die of is 39
            progress=lambda kept, dropped: seen.append(kept),
        )
    report = record(task, episodes=seen[-1], dataset="it", first_seed=10)
    assert report.continued == seen[-1] > 10


def test_an_unfinished_recording_can_grow_and_shrink(minari_folder: Path):
    interrupt(after=6)
    assert record_it(episodes=4).episodes == 4
    record_it(episodes=4, dataset="other")
    assert bytes_of(minari_folder) == bytes_of(minari_folder, "other-v0")


def test_what_is_unfinished_goes_on_with_the_same_settings_only():
    interrupt(after=2)
    with pytest.raises(ValueError, match=r"unfinished, 2 episodes .*first_seed 0, not 9: go on"):
        record_it(first_seed=9)
    with pytest.raises(ValueError, match=r"expert .*fails_at_times.*, not .*all_spaces:expert"):
        record(task_with("expert"), episodes=3, dataset="it")
    assert record_it(first_seed=9, overwrite=True).continued == 0


def test_an_interrupted_replacement_keeps_the_old_until_it_goes_on(minari_folder: Path):
    record_it(episodes=1)
    interrupt(after=3, overwrite=True)
    assert len(open_minari("it")) == 1
    assert record_it(episodes=5).continued >= 3
    assert len(open_minari("it")) == 5
    with pytest.raises(ValueError, match="recorded already"):
        record_it()
    assert os.listdir(minari_folder) == ["it-v0"]


def test_two_processes_do_not_record_the_same():
    process = start("", episodes=100_000)
    assert process.stdout is not None
    while process.stdout.readline() != "1\n":
        assert process.poll() is None
    with pytest.raises(ValueError, match=r"another process is writing .*\.it-v0\.unfinished"):
        record_it()
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.thorough
def test_an_interrupted_command_says_how_to_go_on(minari_folder: Path):
    command = "-m mugato record --env all_spaces:AllSpaces-v0 --expert all_spaces:expert"
    process = subprocess.Popen(
        [sys.executable, *command.split(), "--dataset=it", "--episodes=100000", "--overwrite"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while sum(path.stat().st_size for path in minari_folder.glob(".it-v0.unfinished*")) < 100_000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "are kept; the same command without --overwrite goes on" in " ".join(output.split())


class StopError(Exception):
    """Of a caller who has had enough."""


def interrupt(*, after: int, **options) -> None:
    def progress(kept: int, dropped: int) -> None:
        if kept == after:
            raise StopError

    with pytest.raises(StopError):
        record_it(progress=progress, **options)


def outcomes_of_three_seeds() -> list[Demonstration | RejectedEpisode]:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000), np.uint8)  # several chunks
    arrays = {"actions": stored(np.arange(3)), "observations/a": stored(noise)}
    assert len(arrays["observations/a"].parts) > 2
    return [
        Demonstration(seed=0, timesteps=3, episode_return=0.1, arrays=arrays),
        RejectedEpisode(seed=1, cause="failed", reason="failed with return 0"),
        Demonstration(seed=2, timesteps=3, episode_return=float("nan"), arrays=arrays),
    ]


def test_a_store_gives_back_what_came_of_the_seeds(tmp_path: Path):
    outcomes = outcomes_of_three_seeds()
    for number, outcome in enumerate(outcomes):
        store = RecordingStore(tmp_path / "store", {"task": "mine", "call": number}, anew=False)
        store.append(outcome)
        store.close()
    store = RecordingStore(tmp_path / "store", {}, anew=False)
    assert store.settings == {"task": "mine", "call": 0}
    assert [outcome.seed for outcome in store.outcomes] == [0, 1, 2]
    assert store.outcomes[1] == outcomes[1] and store.num_kept == 2
    first, last = store.demonstrations()
    assert first == outcomes[0]
    assert last.arrays == first.arrays and np.isnan(last.episode_return)
    store.remove()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_half_written_is_rolled_back(tmp_path: Path):
    (tmp_path / "copy").mkdir()
    outcomes = outcomes_of_three_seeds()
    store = RecordingStore(tmp_path / "store", {}, anew=False)
    store.append(outcomes[0])
    parts = [(1, "a", "|u1", "[9]", None, bytes(10**6))] * 20  # more than SQLite keeps in memory
    store._connection.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)", parts)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 10**7
    for path in files:  # as a process leaves them that is killed now
        shutil.copy(path, tmp_path / "copy")
    store.close()
    store = RecordingStore(tmp_path / "copy" / "store", {}, anew=False)
    assert list(store.demonstrations()) == outcomes[:1]
    store.append(outcomes[1])
    store.close()


def test_what_is_no_store_is_refused_and_overwritten_on_request(minari_folder: Path):
    unfinished = minari_folder / ".it-v0.unfinished"
    minari_folder.mkdir(exist_ok=True)
    unfinished.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(ValueError, match=r"it-v0.unfinished is damaged .*overwriting begins anew"):
        record_it()
    assert record_it(episodes=1, overwrite=True).episodes == 1
    assert os.listdir(minari_folder) == ["it-v0"]
