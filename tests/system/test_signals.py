"""Processes end when their parents do, and are not in the way of who wants to stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mugato.system import signals
from mugato.system.workers import WorkerPool

PARENT = """
import os, sys, time
from mugato.system import signals
from mugato.system.workers import WorkerPool
from tests.system.test_signals import busy

if __name__ == "__main__":
    with WorkerPool(2) as pool:
        calls = [pool.submit(busy, sys.argv[1]) for _ in range(2)]
        [call.result() for call in calls]
"""


def busy(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    sum(range(10**10))  # holds on to the interpreter: no thread gets its turn soon


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_at_once_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "marks").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "marks")]
    parent = subprocess.Popen(command, env=environment)
    assert until(lambda: len([*(tmp_path / "marks").iterdir()]) == 2)
    workers = [int(mark.name) for mark in (tmp_path / "marks").iterdir()]
    assert all(map(alive, workers))
    parent.kill()
    parent.wait()
    assert until(lambda: not any(map(alive, workers)), 2.0)


def test_each_signal_that_asks_to_stop_is_told_and_then_means_what_it_did():
    before = [signal.getsignal(number) for number in signals.STOPPING]
    seen = []
    with signals.handled(seen.append):
        for number in signals.STOPPING:
            os.kill(os.getpid(), number)
    assert seen == [*signals.STOPPING]
    assert [signal.getsignal(number) for number in signals.STOPPING] == before


def test_under_nohup_a_lost_connection_stops_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.handled(lambda number: pytest.fail("it was ignored")):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def mask() -> set[int]:
    return {*signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def test_signals_are_held_back_while_a_process_is_started_and_told_after():
    seen = []
    with signals.handled(seen.append):
        with signals.held_back():
            # To this thread: one of a library's, which holds nothing back, might take it instead.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            assert seen == []
        assert seen == [signal.SIGTERM]
    with WorkerPool(1) as pool:  # one of whose children could not be ended otherwise
        assert not pool.submit(mask).result() & {*signals.STOPPING}
