"""Calls in other processes: each ends in its own result, error or death."""

import os
import signal
import time
from contextlib import contextmanager
from itertools import count

import pytest

from mugato.system.workers import WorkerDiedError, WorkerPool


@contextmanager
def number_of_process():
    yield os.getpid()


@contextmanager
def broken():
    raise ImportError("no game here")
    yield


def double(number: int) -> int:
    return 2 * number


def process_twice(given: int) -> tuple[int, int]:
    return given, os.getpid()


def never(given: object) -> None:
    raise AssertionError("not reached")


class TwoArgumentsError(Exception):
    """One that pickle cannot put together again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd() -> None:
    raise TwoArgumentsError(1, 2)


def raise_key() -> None:
    raise KeyError("door")


def return_lambda() -> object:
    return lambda: 0


def die(after_s: float = 0.0) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def heed_no_signal() -> str:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return "alive"


def sleep_and_mark(mark, seconds: float) -> None:
    time.sleep(seconds)
    mark.touch()


def test_each_process_is_set_up_once():
    with WorkerPool(2, setup=number_of_process) as pool:
        found = [pool.submit(process_twice) for _ in range(8)]
        assert all(given == process for given, process in (f.result() for f in found))
        assert len({f.result() for f in found}) <= 2


def test_what_setting_up_raises_is_the_calls_error():
    with WorkerPool(1, setup=broken) as pool:
        for _ in range(2):
            with pytest.raises(ImportError, match="no game here"):
                pool.submit(never).result()


def test_a_stream_is_in_order_and_may_be_endless():
    with WorkerPool(2) as pool:
        results = pool.stream(double, count(), ahead=3)
        assert [next(results) for _ in range(50)] == list(range(0, 100, 2))


def test_errors_come_back_as_they_are_with_the_place_where_they_arose():
    with WorkerPool(1) as pool:
        with pytest.raises(KeyError) as caught:
            pool.submit(raise_key).result()
        assert caught.value.args == ("door",)
        assert "in raise_key" in caught.value.__notes__[0]
        with pytest.raises(RuntimeError, match=r"TwoArgumentsError: 1 and 2 \(test_workers.py:"):
            pool.submit(raise_odd).result()
        with pytest.raises(RuntimeError, match="return_lambda"):
            pool.submit(return_lambda).result()
        with pytest.raises(ValueError, match=r"the job cannot be sent to other processes .*use wo"):
            pool.submit(lambda: 0).result()


def test_a_death_costs_its_own_call_alone():
    with WorkerPool(1) as pool:
        calls = [pool.submit(double, 1), pool.submit(die, 0.2), pool.submit(double, 2)]
        with pytest.raises(WorkerDiedError, match=r"its process died with signal 9 \(out of"):
            calls[1].result()
        assert calls[1].exception().seconds >= 0.2
        assert [calls[0].result(), calls[2].result()] == [2, 4]


def test_signals_to_stop_are_not_for_workers():
    with WorkerPool(1) as pool:
        assert pool.submit(heed_no_signal).result() == "alive"


def test_on_leaving_what_runs_gets_a_moment_and_what_waits_does_not(tmp_path):
    short, long, waiting = (tmp_path / name for name in ("short", "long", "waiting"))
    began = time.monotonic()
    with WorkerPool(2, grace_s=4.0) as pool:
        futures = [pool.submit(sleep_and_mark, short, 0.5), pool.submit(sleep_and_mark, long, 60)]
        while not all(future.running() for future in futures):
            time.sleep(0.01)
        last = pool.submit(sleep_and_mark, waiting, 0.0)
    assert time.monotonic() - began < 30
    assert short.exists() and not long.exists() and not waiting.exists()
    assert last.cancelled() and isinstance(futures[1].exception(), WorkerDiedError)


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        WorkerPool(0)
