"""Batches computed ahead are those that would have been computed one by one."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mugato.data.loader import BatchLoader
from mugato.data.mixture import Mixture
from tests.data.test_mixture import control_source, equal, make_mixture, make_windows
from tests.data.test_windows import CountedReads

PARTS = (0, 1)


def one_by_one(mixture, count, states=None):
    """Batches of both microbatches without a loader, and the states after each."""
    states, taken = list(states or mixture.start()), []
    for _ in range(count):
        batches = []
        for microbatch in PARTS:
            batch, states[microbatch] = mixture.batch(microbatch, states[microbatch])
            batches.append(batch)
        taken.append((batches, tuple(states)))
    return taken


def fed(mixture, count, workers, states=None):
    with BatchLoader(mixture, PARTS, states or mixture.start(), workers=workers) as loader:
        return [loader.next() for _ in range(count)]


def assert_same(one, other):
    assert len(one) == len(other)
    for (batches, states), (others, other_states) in zip(one, other, strict=True):
        assert states == other_states
        assert all(map(equal, batches, others))


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_stopped_after_any_batch_the_next_hundred_are_equal_with_any_number_of_workers(workers):
    mixture = make_mixture(num_rows=2)
    stop = (1, 6, 11)[workers]
    whole = one_by_one(mixture, stop + 100)
    assert_same(fed(mixture, stop, workers=2 - workers), whole[:stop])
    assert_same(fed(mixture, 100, workers, whole[stop - 1][1]), whole[stop:])


def test_only_the_parts_asked_for_move_on():
    mixture = make_mixture()
    with BatchLoader(mixture, (1,), mixture.start(), workers=0) as loader:
        batches, states = loader.next()
    assert len(batches) == 1 and states[0] == mixture.start()[0]
    assert states[1] == mixture.batch(1, mixture.start()[1])[1]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_what_is_wrong_with_a_source_is_said_by_whoever_reads_it(workers):
    source = control_source("long", 6, 50)
    source[5].observations["observation"][:] = np.nan
    windows = make_windows([CountedReads(source, lengths=[50] * 6)])
    mixture = Mixture(
        windows, weights="uniform", num_rows=4, row_length=64, num_microbatches=2, seed=0
    )
    with pytest.raises(ValueError, match=r"source 'long', episode 5: .* at timestep 0 holds NaN"):
        fed(mixture, 20, workers)


def test_a_source_that_cannot_travel_is_refused():
    class OfThisTest(CountedReads):
        """No other process can find this class."""

    windows = make_windows([OfThisTest(control_source("long", 6, 50), lengths=[50] * 6)])
    mixture = Mixture(
        windows, weights="uniform", num_rows=4, row_length=64, num_microbatches=2, seed=0
    )
    with pytest.raises(ValueError, match=r"cannot be sent to other processes .*use workers=0"):
        fed(mixture, 1, workers=1)


def children(pid):
    """Those that any of its threads started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def workers_of(pid):
    return [child for child in children(pid) if b"spawn_main" in command_of(child)]


def command_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc")


@pytest.mark.thorough
@needs_proc
def test_a_worker_that_dies_is_one_clear_error_and_leaves_nobody_behind():
    mixture = make_mixture()
    with (
        pytest.raises(ChildProcessError, match=r"a data worker died .*workers=0"),
        BatchLoader(mixture, PARTS, mixture.start(), workers=1) as loader,
    ):
        loader.next()
        os.kill(workers_of(os.getpid())[-1], signal.SIGKILL)
        for _ in range(20):
            loader.next()
    assert not workers_of(os.getpid())


@pytest.mark.thorough
def test_a_script_without_a_guard_is_an_error_and_no_hang(tmp_path):
    (tmp_path / "unguarded.py").write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {os.getcwd()!r})
            from mugato.data.loader import BatchLoader
            from tests.data.test_mixture import make_mixture
            mixture = make_mixture()
            mixture.ballast = bytes(10**6)  # more than a pipe holds
            with BatchLoader(mixture, (0, 1), mixture.start(), workers=1) as loader:
                loader.next()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "unguarded.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "ChildProcessError: a data worker died" in done.stderr
    assert "__main__" in done.stderr


@pytest.mark.thorough
@needs_proc
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(sign, tmp_path):
    (tmp_path / "feeding.py").write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {os.getcwd()!r})
            from mugato.data.loader import BatchLoader
            from tests.data.test_mixture import make_mixture
            if __name__ == "__main__":
                mixture = make_mixture()
                with BatchLoader(mixture, (0, 1), mixture.start(), workers=1) as loader:
                    print("begun", flush=True)
                    while True:
                        loader.next()
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "feeding.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    while not (workers := workers_of(process.pid)):
        time.sleep(0.05)
    # As the terminal does: to the whole group.
    (os.killpg if sign == signal.SIGINT else os.kill)(process.pid, sign)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


@pytest.mark.thorough
def test_tensors_of_a_worker_are_the_trainers_own():
    (batches, _), *_ = fed(make_mixture(), 1, workers=1)
    for tensor in vars(batches[0].inputs).values():
        assert isinstance(tensor, torch.Tensor)
        tensor.zero_()  # may be written to
