"""Jobs side by side in processes of one thread each; a process that dies takes only its job along.

Every job ends in an `Outcome`, a result or the reason why there is none. It knows nothing of what
the jobs do.
"""

import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

from mugato.system.errors import one_line
from mugato.system.processes import ONE_THREAD, variables

Progress = Callable[[str, int, int], None]  # called with (name of the job, done, of how many)

_NOWHERE = -1


@runtime_checkable
class _Place(Protocol):
    """A number; that of a process lies in memory that outlives it."""

    value: int


@dataclass
class _Here:
    value: int = _NOWHERE


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """What a job tells while it runs: how far it is, and what it is at."""

    tell: Callable[[int, int], None] = lambda done, total: None
    place: _Place = field(default_factory=_Here)

    def __call__(self, done: int, total: int) -> None:
        self.tell(done, total)

    def at(self, place: int | None) -> None:
        """The part that takes the blame should the process die now; None for no part."""
        self.place.value = _NOWHERE if place is None else place


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to do.

    Attributes:
        run: called as `run(progress=JobProgress(...))`; it and its result travel between
            processes.
        cost: how long it takes compared to the others; the longest go first.
    """

    name: str
    run: Callable[..., Any]
    cost: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job: `result`, or where that failed one line in `error`.

    Attributes:
        place: what the job was at when its process died, if it had said so.
    """

    name: str
    result: Any = None
    error: str | None = None
    seconds: float = 0.0
    place: int | None = None


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    environment: Mapping[str, str],
    progress: Progress = lambda name, done, total: None,
) -> list[Outcome]:
    """Run all jobs; outcomes come in the order of `jobs`, and are the same for any `workers`.

    Args:
        workers: processes of one thread each; with 1 everything happens in this one.
        environment: variables that are set meanwhile, in this process and the others.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    ordered = sorted(jobs, key=lambda job: -job.cost)
    threads = ONE_THREAD if workers > 1 else {}
    with variables({**threads, **environment}):
        if workers == 1:
            outcomes = _run_here(ordered, progress)
        else:
            outcomes = _run_in_processes(ordered, workers, progress)
    by_name = {outcome.name: outcome for outcome in outcomes}
    return [by_name[job.name] for job in jobs]


def _run_here(jobs: Sequence[Job], progress: Progress) -> list[Outcome]:
    """With one thread, as elsewhere: sums of two threads differ in their last bits."""
    import torch

    outcomes, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            outcomes.append(_run(job, progress, _Here()))
            progress(job.name, 1, 1)
    finally:
        torch.set_num_threads(threads)
    return outcomes


def _run(job: Job, progress: Progress, place: _Place) -> Outcome:
    started = time.perf_counter()
    fields: dict[str, Any] = {}
    place.value = _NOWHERE
    try:
        fields["result"] = job.run(
            progress=JobProgress(tell=partial(progress, job.name), place=place)
        )
    except Exception as error:  # environments raise what they like
        fields["error"] = _reason(error)
    return Outcome(name=job.name, seconds=time.perf_counter() - started, **fields)


class _Worker:
    """A process, our end of the pipe to it, and the job that it is at."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.place = context.RawValue("q", _NOWHERE)
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, self.place), daemon=True
        )
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.started = 0.0

    def give(self, job: Job) -> None:
        self.job, self.started = job, time.perf_counter()
        with suppress(OSError):  # it died in the meantime: its end of the pipe will say so
            self.connection.send(job)

    def outcome_of_death(self) -> Outcome:
        self.process.join()
        assert self.job is not None
        code = self.process.exitcode
        reason = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return Outcome(
            name=self.job.name,
            error=f"its process died with {reason}{hint}",
            seconds=time.perf_counter() - self.started,
            place=None if self.place.value == _NOWHERE else self.place.value,
        )

    def end(self) -> None:
        self.connection.close()
        if self.job is not None:  # only when the whole run is given up
            self.process.terminate()
        self.process.join()


def _run_in_processes(jobs: list[Job], workers: int, progress: Progress) -> list[Outcome]:
    waiting, outcomes = list(jobs), list[Outcome]()
    pool: dict[Connection, _Worker] = {}
    try:
        while waiting or any(worker.job for worker in pool.values()):
            while waiting and len(pool) < workers:
                worker = _Worker()
                pool[worker.connection] = worker
                _give_next(worker, waiting, outcomes)
            for connection in wait([c for c, worker in pool.items() if worker.job is not None]):
                assert isinstance(connection, Connection)
                worker = pool[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    outcomes.append(worker.outcome_of_death())
                    progress(outcomes[-1].name, 1, 1)
                    worker.job = None
                    del pool[connection]
                    worker.end()
                    continue
                if isinstance(message, Outcome):
                    outcomes.append(message)
                    progress(message.name, 1, 1)
                    worker.job = None
                    _give_next(worker, waiting, outcomes)
                else:
                    progress(*message)
    finally:
        for worker in pool.values():
            worker.end()
    return outcomes


def _give_next(worker: _Worker, waiting: list[Job], outcomes: list[Outcome]) -> None:
    """Hand the next job over; those that cannot travel have failed already."""
    while waiting and worker.job is None:
        job = waiting.pop(0)
        try:
            worker.give(job)
        except (AttributeError, TypeError, ValueError) as error:  # what pickle raises
            worker.job = None
            reason = f"cannot be sent to another process ({_reason(error)}); use workers=1"
            outcomes.append(Outcome(name=job.name, error=reason))


def _work(connection: Connection, place: _Place) -> None:
    """The other process: job after job until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    warnings.simplefilter("ignore")  # of environments; they would break into the progress display
    import torch

    torch.set_num_threads(1)
    # When the pipe closes, there is no more to do, or nobody left to do it for.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = connection.recv()
            connection.send(_run(job, lambda *message: connection.send(message), place))
    # MuJoCo's contexts complain when the interpreter takes them apart at its end.
    os._exit(0)


def _reason(error: BaseException) -> str:
    """Of those that are no plain refusals also the kind and the place."""
    text = one_line(error)
    if isinstance(error, (ValueError, ImportError, OSError)) and str(error):
        return text
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(where[-1].filename)}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {text}{place}"
