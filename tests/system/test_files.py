"""Files are whole or as they were, and a folder has one writer, whatever that dies of."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mugato.system.files import LOCK, UNFINISHED, locked, remove_unfinished, write_whole

WRITE = """
import os, sys, time
from pathlib import Path
from mugato.system.files import write_whole

def slowly(beside):
    beside.write_bytes(b"x" * 1000)
    print("writing", flush=True)
    time.sleep(60)

write_whole(Path(sys.argv[1]), slowly)
"""
LOCK_IT = """
import sys, time
from pathlib import Path
from mugato.system.files import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""
FULL = """
import resource, signal, sys
from pathlib import Path
from mugato.system.files import write_whole

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
write_whole(Path(sys.argv[1]), lambda beside: beside.write_bytes(b"x" * 100_000))
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    killed, writing = start(WRITE, tmp_path / "one"), start(WRITE, tmp_path / "two")
    assert said(killed) == said(writing) == "writing"
    kill(killed)
    assert len(names(tmp_path)) == 2
    remove_unfinished(tmp_path)
    [left] = names(tmp_path)
    assert left.startswith(".two.") and left.endswith(UNFINISHED)
    kill(writing)
    write_whole(tmp_path / "two", lambda beside: beside.write_text("whole"))
    assert names(tmp_path) == ["two"]


def test_a_name_that_looks_like_a_pattern_takes_no_other_files_along(tmp_path):
    other = tmp_path / f".a.x{UNFINISHED}"
    other.touch()
    write_whole(tmp_path / "[ab]", lambda beside: beside.write_text("whole"))
    assert names(tmp_path) == [other.name, "[ab]"]


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    path = tmp_path / "it"
    path.write_text("old")
    process = start(FULL, path)
    _, error = process.communicate()
    last = error.strip().splitlines()[-1]
    assert last == f"OSError: could not write {path}: File too large"
    assert names(tmp_path) == ["it"] and path.read_text() == "old"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10_000


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    for parent, reason in (("missing", "No such file"), ("file", "Not a directory")):
        (tmp_path / "file").touch()
        path = tmp_path / parent / "it"
        with pytest.raises(OSError, match=f"could not write {path}: {reason}"):
            write_whole(path, lambda beside: beside.write_text("never"))
    with pytest.raises(OSError, match=f"cannot write in {tmp_path}/file/run: Not a directory"):
        locked(tmp_path / "file" / "run").__enter__()


def test_a_folder_has_one_writer_until_that_ends_and_no_litter(tmp_path):
    process = start(LOCK_IT, tmp_path)
    assert said(process) == "locked"
    with pytest.raises(ValueError, match=f"another process is at work in {tmp_path}"):
        locked(tmp_path).__enter__()
    kill(process)
    assert names(tmp_path) == [LOCK]  # of the dead; it hinders nobody
    with locked(tmp_path), pytest.raises(ValueError, match="another process"):
        locked(tmp_path).__enter__()
    assert names(tmp_path) == []
    with locked(tmp_path / "deep" / "down"):
        assert names(tmp_path / "deep" / "down") == [LOCK]
