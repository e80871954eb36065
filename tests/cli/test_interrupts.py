"""Commands that are asked to stop, or killed, as users' machines do it: to real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mugato.training.checkpoint import STATE, read_progress
from tests.cli.test_cli import FAST
from tests.system.test_signals import alive, until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# What tests started: a test that fails must not leave a process that trains for ever.
STARTED: list[subprocess.Popen] = []


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    (tmp_path / "play.txt").write_text("to be or not to be, that is it. " * 99)
    yield tmp_path
    while STARTED:
        process = STARTED.pop()
        process.kill()  # its children end with it
        process.communicate()


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a user whose data sets lie in a folder."""
    path = os.pathsep.join([os.getcwd(), *sys.path])
    return {**os.environ, "PYTHONPATH": path, "MINARI_DATASETS_PATH": str(folder / "minari")}


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a command as a terminal does: in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mugato", *arguments], cwd=folder, env=environment(folder),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


def start_training(folder: Path, processes: int = 1, *more: str) -> subprocess.Popen:
    """Train without end, and return when there is a state on disk."""
    process = start(
        folder, "train", "--sources", "text:play.txt", "--run", "run", *FAST, "--steps", "1000000",
        "--microbatches", "2", "--save-every", "5", "--processes", str(processes), *more,
    )  # fmt: skip
    there = (folder / "run" / STATE).exists
    assert until(lambda: there() or process.poll() is not None, 180.0)
    assert process.poll() is None, process.communicate()
    return process


def children_of(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # by the thread that started them
    return [int(child) for children in lists for child in children.read_text().split()]


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


@LINUX
@pytest.mark.parametrize("command", ["train --sources text:play.txt", "record"])
def test_ctrl_c_at_start_up_is_one_line(command, folder):
    for after_s in (0.0, 0.5):
        process = start(folder, *command.split(), "--help")
        # Before there is any of our packages in it, Python itself is starting.
        assert until(lambda p=process: "numpy" in Path(f"/proc/{p.pid}/maps").read_text())
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
        if process.returncode != 0:  # it was quicker
            assert (process.returncode, error) == (130, "mugato: interrupted\n"), after_s


@pytest.mark.thorough
@LINUX
@pytest.mark.parametrize(
    ("processes", "number"),
    [
        (1, signal.SIGHUP),
        pytest.param(2, signal.SIGINT, marks=pytest.mark.thorough),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.thorough),
    ],
)
def test_training_that_is_asked_to_stop_saves_and_says_so(processes, number, folder):
    process = start_training(folder, processes)
    children = children_of(process.pid)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=180)
    [line] = error.splitlines()
    step = read_progress(folder / "run").step
    assert process.returncode == 130
    assert line.startswith(f"mugato: interrupted at step {step:,}, after 0% of the budget; what")
    assert line.endswith("is saved in run: go on with --resume --run run")
    assert until(lambda: not any(map(alive, children)), 30.0)
    assert left_behind(folder / "run") == []


@pytest.mark.thorough
@LINUX
def test_training_whose_launcher_is_killed_leaves_no_process_and_goes_on(folder):
    process = start_training(folder, 2, "--workers", "1")
    trainers = [n for n in children_of(process.pid) if children_of(n)]
    everybody = [*children_of(process.pid), *(n for one in trainers for n in children_of(one))]
    assert len(trainers) == 2 and len(everybody) >= 4
    second = start(folder, "train", "--run", "run", "--resume")
    _, error = second.communicate(timeout=180)
    assert error == "mugato train: another process is at work in run\n"
    process.kill()
    process.communicate()
    assert until(lambda: not any(map(alive, everybody)), 30.0)
    (folder / "run" / f".{STATE}.killed.part").write_text("x" * 1000)
    step = read_progress(folder / "run").step
    again = start(folder, "train", "--run", "run", "--resume", "--steps", str(step + 2))
    _, error = again.communicate(timeout=180)
    assert again.returncode == 0, error
    assert read_progress(folder / "run").step == step + 2 and left_behind(folder / "run") == []
