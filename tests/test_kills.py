"""Commands that are killed again and again end as if nothing had been (a soak: minutes)."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mugato.agent import Agent
from mugato.training.checkpoint import STATE, read_progress
from mugato.training.run_info import read_metrics
from tests.cli.test_cli import FAST
from tests.cli.test_interrupts import children_of, environment, left_behind, start
from tests.system.test_signals import alive, until

KILLS = int(os.environ.get("KILLS", "20"))
SHORT = max(2, KILLS // 3)  # of commands that are over soon, at different moments
STEPS = 400
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


RECORD = [
    "record", "--env", "CartPole-v1", "--expert", "always_right:policy", "--dataset", "mine",
    "--episodes", "200", "--workers", "2",
]  # fmt: skip
# The demo has no settings: this is it with one short task and one text, and few steps.
SMALL_DEMO = """
import dataclasses, sys
from mugato.cli import main
from mugato.data.config import DatasetConfig
from mugato.tasks.registry import TASKS
from mugato.training import presets

def small():
    model = dataclasses.replace(demo().model, width=32, num_layers=1, num_heads=1, head_size=32,
                                hidden_size=32, context_length=128, patch_width=32)
    datasets = DatasetConfig(name="cartpole", history=1), DatasetConfig(name="paragraphs:play.txt")
    return dataclasses.replace(demo(), datasets=datasets, model=model, steps=80, save_every=10,
                               batch_rows=2, max_seconds=None, precision="fp32", processes=1)

demo = presets.demo
presets.PRESETS["demo"] = small
TASKS["cartpole"] = dataclasses.replace(TASKS["cartpole"], episodes=4)
if __name__ == "__main__":
    main.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_killed_at_random_moments_equals_undisturbed_training(tmp_path):
    (tmp_path / "play.txt").write_text("to be or not to be, that is it. " * 99)
    command = [
        "train", "--sources", "text:play.txt", *FAST, "--steps", str(STEPS), "--microbatches", "2",
        "--save-every", "20", "--precision", "fp32", "--processes", "2",
    ]  # fmt: skip
    undisturbed = start(tmp_path, *command, "--run", "whole")
    _, error = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, error
    rng, disturbed = random.Random(0), [*command, "--run", "killed"]
    for kill in range(KILLS):
        number, whom = SIGNALS[kill % 3], rng.choice(["launcher", "child"])
        kill_once(tmp_path, disturbed, number, whom, after_s=rng.uniform(0, 12))
    last = start(tmp_path, *disturbed, *resumed(tmp_path))
    _, error = last.communicate(timeout=300)
    assert last.returncode == 0 or "nothing left to do" in error, error
    assert left_behind(tmp_path / "killed") == []
    assert read_progress(tmp_path / "killed").step == STEPS
    losses = [[r["loss"] for r in read_metrics(tmp_path / n)] for n in ("whole", "killed")]
    assert losses[0] == losses[1]
    one, two = (Agent.from_pretrained(tmp_path / n).model.state_dict() for n in ("whole", "killed"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def resumed(folder: Path) -> list[str]:
    return ["--resume"] if (folder / "killed" / STATE).exists() else []


def kill_once(
    folder: Path, command: list[str], number: signal.Signals, whom: str, *, after_s: float
) -> None:
    """Train, strike, and see that no process is left and that what is said is one line."""
    process = start(folder, *command, *resumed(folder))
    time.sleep(after_s)
    children = children_of(process.pid) if process.poll() is None else []
    victims = children if whom == "child" and children else [process.pid]
    for victim in victims[-1:]:
        if alive(victim):
            os.kill(victim, number)
    _, error = process.communicate(timeout=120)
    assert "Traceback" not in error, error
    assert until(lambda: not any(map(alive, children)), 5.0), (number, whom)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "always_right.py").write_text("def policy(observation):\n    return 1\n")
    lines = (f"Scene {i}: to be or not to be, that is question {i * i}." for i in range(99))
    (tmp_path / "play.txt").write_text("\n\n".join(lines))
    (tmp_path / "small_demo.py").write_text(SMALL_DEMO)
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_recordings_killed_at_random_moments_equal_an_undisturbed_one(folder):
    data = folder / "minari" / "mine-v0" / "data"
    files = ("main_data.hdf5", "metadata.json")

    def record_all() -> list[bytes]:
        process = start(folder, *RECORD)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0 or "data set 'mine-v0' exists" in error, error
        return [(data / name).read_bytes() for name in files]

    begun = time.monotonic()
    undisturbed, rng = record_all(), random.Random(0)
    longest_s = time.monotonic() - begun
    for kill in range(SHORT):
        if kill % 2 == 0:  # one is killed twice
            shutil.rmtree(folder / "minari")
        strike(start(folder, *RECORD), kill, rng, longest_s)
        if kill % 2:
            assert record_all() == undisturbed
            assert left_behind(folder) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_evaluations_killed_at_random_moments_equal_an_undisturbed_one(folder):
    train = [
        "train", "--env", "CartPole-v1", "--demonstrations", "mine", "--sources",
        "paragraphs:play.txt", *FAST, "--run", "run",
    ]  # fmt: skip
    for command in (RECORD, train):
        done = start(folder, *command)
        assert (done.communicate(timeout=300), done.returncode)[1] == 0
    command = ["evaluate", "run", "--episodes", "20"]

    def results() -> dict:
        process = start(folder, *command)
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        return findings(folder / "run")

    begun = time.monotonic()
    undisturbed, rng = results(), random.Random(1)
    assert undisturbed["tasks"] and undisturbed["sources"]
    longest_s = time.monotonic() - begun
    before = sorted(path for path in folder.rglob("*"))
    for kill in range(SHORT):
        strike(start(folder, *command), kill, rng, longest_s)
        assert findings(folder / "run") == undisturbed  # the old ones, or the new
    assert results() == undisturbed
    assert sorted(path for path in folder.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_demo_killed_at_random_moments_ends_as_an_undisturbed_one(folder):
    def demo(run: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "small_demo.py", "demo", "--run", run], cwd=folder,
            env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def whole(run: str) -> dict:
        process = demo(run)
        said, error = process.communicate(timeout=400)
        assert process.returncode == 0, (said, error)
        return findings(folder / run)

    begun = time.monotonic()
    undisturbed, rng = whole("whole"), random.Random(2)
    longest_s = time.monotonic() - begun
    assert undisturbed["tasks"] and undisturbed["sources"]
    shutil.rmtree(folder / "minari")
    for kill in range(SHORT):
        strike(demo("killed"), kill, rng, longest_s)
    assert whole("killed") == undisturbed
    assert left_behind(folder) == []
    one, two = (Agent.from_pretrained(folder / n).model.state_dict() for n in ("whole", "killed"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def strike(process: subprocess.Popen, kill: int, rng: random.Random, longest_s: float) -> None:
    """Ask a command, or all of its group, to stop, or kill it; see that nothing of it is left."""
    number, whom = SIGNALS[kill % 3], rng.choice([os.kill, os.killpg])
    time.sleep(rng.uniform(0.1, 1) * longest_s)
    family = descendants(process.pid)
    if process.poll() is None:
        whom(process.pid, number)
    _, error = process.communicate(timeout=120)
    assert "Traceback" not in error, (number, whom, error)
    said = [line for line in error.splitlines() if not re.search(r" \d+/\d+$", line)]  # no progress
    assert len(said) <= 1, (number, whom, error)
    assert until(lambda: not any(map(alive, family)), 10.0), (number, whom)


def descendants(pid: int) -> list[int]:
    children = children_of(pid)
    return [*children, *(n for child in children for n in descendants(child))]


def findings(run: Path) -> dict:
    """Return what an evaluation found, without when and how fast."""
    report = json.loads((run / "report.json").read_text())
    return {key: report[key] for key in ("tasks", "sources", "missing", "problems")}
