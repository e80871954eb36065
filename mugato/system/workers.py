"""Calls in other processes of one thread each; one that dies takes only its own call along.

A `WorkerPool` gives a `Future` for each call. Ctrl-C, SIGTERM and SIGHUP are the affair of its
process; workers end with that, whatever it dies of. Recording, references, batches of data and,
through `run_jobs`, evaluation run on it. Nothing here knows what the calls do.
"""

import os
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any

from mugato.system.errors import describe
from mugato.system.signals import STOPPING, end_with_parent, held_back, let_through

# Read when a process imports NumPy or torch: several processes shall not fight over the cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_NOWHERE = -1


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """What a job tells while it runs: how far it is, and what it is at.

    Attributes:
        tell: called with (done, of how many).
        place: holder of a number, which in a worker lies in memory that outlives the process.
    """

    tell: Callable[[int, int], None] = lambda done, total: None
    place: Any = field(default_factory=lambda: SimpleNamespace(value=_NOWHERE))

    def __call__(self, done: int, total: int) -> None:
        self.tell(done, total)

    def at(self, place: int | None) -> None:
        """Say which part is to blame should the process die now; None for no part."""
        self.place.value = _NOWHERE if place is None else place


class WorkerDiedError(ChildProcessError):
    """The process of a job died.

    Attributes:
        cause: the signal or exit status.
        place: what the job was at, if it had said so.
        seconds: that it had been at it.
    """

    def __init__(self, cause: str, *, place: int | None = None, seconds: float = 0.0) -> None:
        super().__init__(f"its process died with {cause}")
        self.cause, self.place, self.seconds = cause, place, seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    """What a process is to do, and who waits for it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    on_progress: Callable[[int, int], None] | None
    future: Future


class WorkerPool:
    """Processes that run what is submitted, first come, first served; a context manager.

    A process is started when there is something to do for it, and another one when it died. On
    leaving, what waits is cancelled, and what runs is given a moment to finish.
    """

    def __init__(
        self,
        workers: int,
        *,
        setup: Callable[[], AbstractContextManager[Any]] | None = None,
        name: str = "the job",
        grace_s: float = 5.0,
    ) -> None:
        """Prepare the pool.

        Args:
            setup: sent once to each process, which enters the context that it gives before its
                first call, and passes the context's value to every call as first argument.
            name: what to call the work if it cannot travel; with workers=1 it need not.
            grace_s: how long running calls may go on when the pool is left.

        Raises:
            ValueError: if there are no workers, or `setup` cannot be pickled.
        """
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._pickle = partial(pickled, name=name, instead="workers=1")
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        start = partial(_Worker, self._calls, self._pickle, self._pickle(setup), Lock())
        self._workers = [start() for _ in range(workers)]
        self._grace_s = grace_s

    def __enter__(self) -> "WorkerPool":
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            with suppress(Empty):
                while (call := self._calls.get_nowait()) is not None:
                    call.future.cancel()
            for _ in self._workers:
                self._calls.put(None)
            deadline = time.monotonic() + self._grace_s
            for worker in self._workers:
                worker.join(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.kill()
            for worker in self._workers:
                worker.join()

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Future:
        """Have `function(*args)` called in one of the processes.

        Args:
            on_progress: called, in a thread of this process, with what the call tells its
                `progress=JobProgress(...)`, an argument that it gets if this is given.

        Returns:
            A future whose result is the call's, or whose exception is what it raised, a
            `WorkerDiedError`, or a `ValueError` if it cannot be pickled.
        """
        call = _Call(function=function, args=args, on_progress=on_progress, future=Future())
        self._calls.put(call)
        return call.future

    def stream(
        self, function: Callable[..., Any], items: Iterable[Any], *, ahead: int
    ) -> Iterator[Any]:
        """Yield `function(item)` in the order of the items, of which there may be endlessly many.

        Args:
            ahead: calls for each process that may wait or be finished beyond the next result:
                enough to keep all busy while one is slow; more would only fill memory.
        """
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(self.submit(function, item))
            if len(waiting) > ahead * len(self._workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Worker(Thread):
    """A thread of this process, and the other process that does its work.

    A thread each, so that the next call is handed over while this process is busy elsewhere.
    """

    def __init__(
        self,
        calls: "SimpleQueue[_Call | None]",
        pickle: Callable[[Any], bytes],
        setup: bytes,
        lock: AbstractContextManager[Any],
    ) -> None:
        super().__init__(daemon=True)
        self._calls, self._pickle, self._setup = calls, pickle, setup
        # Starting a process collects the exit statuses of others, for which somebody may wait.
        self._lock = lock
        self._context = get_context("spawn")
        self._place = self._context.RawValue("q", _NOWHERE)
        self._process: Any = None
        self._connection: Connection | None = None
        self._given_up, self._begun = False, 0.0

    def run(self) -> None:
        for call in iter(self._calls.get, None):
            if call.future.set_running_or_notify_cancel():
                try:
                    call.future.set_result(self._result(call))
                except BaseException as error:
                    call.future.set_exception(error)
        if self._connection is not None:
            self._connection.close()  # upon which the process ends
            self._process.join()

    def kill(self) -> None:
        """End the process now, and start no other one."""
        with self._lock:
            self._given_up = True
            if self._process is not None:
                self._process.kill()  # it does not listen to SIGTERM

    def _result(self, call: _Call) -> Any:
        message = self._pickle((call.function, call.args, call.on_progress is not None))
        if self._connection is None:
            self._connection = self._start()
            self._send(self._setup)
        self._begun = time.perf_counter()
        self._send(message)
        while True:
            match pickle.loads(self._receive()):
                case ("told", (done, total)):
                    assert call.on_progress is not None
                    call.on_progress(done, total)
                case ("raised", error):
                    raise error
                case ("returned", result):
                    return result

    def _start(self) -> Connection:
        with self._lock, variables(ONE_THREAD):
            if self._given_up:
                raise WorkerDiedError("the pool")
            connection, theirs = self._context.Pipe()
            # Arguments are few: a process that dies before it has read many would hang this one.
            process = self._context.Process(target=_work, args=(theirs, self._place), daemon=True)
            with held_back():
                process.start()
            self._process = process
        theirs.close()
        return connection

    def _send(self, message: bytes) -> None:
        assert self._connection is not None
        with suppress(OSError):  # it died in the meantime: its end of the pipe will say so
            self._connection.send_bytes(message)

    def _receive(self) -> bytes:
        assert self._connection is not None
        try:
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> WorkerDiedError:
        assert self._connection is not None
        with self._lock:
            self._process.join(1.0)
            self._process.kill()  # one that closed its pipe and lives has nothing to do
            self._process.join()
            code, place = self._process.exitcode, self._place.value
            self._process = None
        self._connection.close()
        self._connection = None
        cause = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return WorkerDiedError(
            f"{cause}{hint}",
            place=None if place == _NOWHERE else place,
            seconds=time.perf_counter() - self._begun,
        )


def _work(connection: Connection, place: Any) -> None:
    """Do call after call, in the other process, until the pipe closes."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    let_through()
    end_with_parent()
    # When the pipe closes, there is no more to do, or nobody left to do it for.
    closed = suppress(EOFError, BrokenPipeError, ConnectionResetError)
    with suppress(Exception), ExitStack() as stack, closed:
        message = connection.recv_bytes()

        @cache
        def given() -> list[Any]:
            setup = pickle.loads(message)
            return [] if setup is None else [stack.enter_context(setup())]

        while True:
            connection.send_bytes(_answer(connection.recv_bytes(), given, connection, place))
    sys.stdout.flush()
    sys.stderr.flush()
    # MuJoCo's contexts complain when the interpreter takes them apart at its end.
    os._exit(0)


def _answer(
    message: bytes, given: Callable[[], list[Any]], connection: Connection, place: Any
) -> bytes:
    """Do one call, and say what it returned or raised."""

    def tell(done: int, total: int) -> None:
        connection.send_bytes(pickle.dumps(("told", (done, total))))

    place.value = _NOWHERE
    try:
        function, args, tells = pickle.loads(message)
        progress = {"progress": JobProgress(tell=tell, place=place)} if tells else {}
        return _to_bytes("returned", function(*given(), *args, **progress))
    except Exception as error:  # environments raise what they like
        return _to_bytes("raised", error)


def _to_bytes(kind: str, value: Any) -> bytes:
    """Pickle an answer; where that fails, an error that says so."""
    try:
        if kind == "returned":
            return pickle.dumps((kind, value))
        value.add_note("".join(traceback.format_exception(value)))  # pickle drops the traceback
        message = pickle.dumps((kind, value))
        pickle.loads(message)  # some errors can be taken apart, but not put together
        return message
    except Exception as error:
        failed = value if kind == "raised" else error
        return pickle.dumps(("raised", RuntimeError(describe(failed, with_place=True))))


def pickled(value: Any, *, name: str, instead: str) -> bytes:
    """Pickle what is to travel to other processes.

    Raises:
        ValueError: if that cannot be, naming it and the setting with which it need not travel.
    """
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be sent to other processes ({describe(error)}); use {instead}"
        ) from error


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started within the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
