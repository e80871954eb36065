"""No room left for what a command writes: one line with the file's name, nothing lost."""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from mugato.cli import main as cli
from tests.cli.test_cli import FAST

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="a limit stands for the full disk"),
]
FULL = """
import resource, signal, sys
from mugato.cli import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
main.main()
"""
EXPERT = """
def policy(observation):
    return int(observation[2] + observation[3] > 0)
"""
PLAYED = ("--episodes", "2", "--workers", "1")
COMMANDS = {
    "evaluate": ("evaluate", "one", *PLAYED, "--no-videos"),
    "evaluate-videos": ("evaluate", "one", *PLAYED),
    "tune": ("tune", "one", "--episodes", "2", "--workers", "1"),
    "compare": ("compare", "one", "two", "--out", "page.html"),
    "export": ("export", "one", "alone"),
    "play": ("play", "CartPole-v1", "--agent", "one", "--out", "film.mp4"),
    "record": ("record", "--env", "CartPole-v1", "--expert", "balances:policy",
               "--episodes", "40", "--dataset", "more", "--workers", "1"),
    "train": ("train", "--sources", "text:play.txt", *FAST, "--run", "three"),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with two evaluated runs."""
    place = tmp_path_factory.mktemp("trained")
    (place / "balances.py").write_text(EXPERT)
    (place / "play.txt").write_text("to be or not to be, that is it. " * 99)
    with chdir(place), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", "minari")
        patch.setattr(sys, "path", [*sys.path])
        cli.main(["record", "--env", "CartPole-v1", "--expert", "balances:policy",
                  "--episodes", "4", "--dataset", "mine", "--workers", "1"])  # fmt: skip
        for run in ("one", "two"):
            cli.main(["train", "--env", "CartPole-v1", "--demonstrations", "mine", *FAST,
                      "--run", run])  # fmt: skip
            cli.main(["evaluate", run, *PLAYED, "--no-videos"])
    return place


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


ROOM = [
    *((name, 200) for name in COMMANDS),
    ("evaluate-videos", 5_000),
    ("compare", 5_000),
    ("export", 20_000),
    ("record", 20_000),
    ("train", 20_000),
]


@pytest.mark.parametrize(("name", "room"), ROOM)
def test_without_room_a_command_says_so_and_loses_nothing(name, room, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "work")
    with chdir(tmp_path / "work"):
        before = contents()
        path = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", FULL, str(room), *COMMANDS[name]],
            env={**os.environ, "PYTHONPATH": path, "MINARI_DATASETS_PATH": "minari"},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        after = contents()
    said = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "could not write" in said[-1] or "cannot write" in said[-1], said
    kept = {path: data for path, data in after.items() if path in before}
    if name == "evaluate-videos" and room > 200:  # what was played is kept where there is room
        kept["one/report.json"] = before["one/report.json"]
    assert kept == before
    unfinished = [path for path in set(after) - set(before) if Path(path).name.startswith(".")]
    assert unfinished == ["minari/.more-v0.unfinished"] * (name == "record" and len(unfinished))
