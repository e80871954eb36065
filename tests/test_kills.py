"""Training that is killed again and again ends as if nothing had been (a soak: minutes)."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from mugato.agent import Agent
from mugato.training.checkpoint import STATE, read_progress
from mugato.training.run_info import read_metrics
from tests.cli.test_cli import FAST
from tests.cli.test_interrupts import children_of, left_behind, start
from tests.system.test_signals import alive, until

KILLS = int(os.environ.get("KILLS", "20"))
STEPS = 400
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


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
