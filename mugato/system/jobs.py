"""Named jobs, run to the last one: side by side on a pool of workers, or here one by one.

Every job ends in an `Outcome`, a result or the reason why there is none. Nothing here knows what
the jobs do.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

from mugato.system.errors import describe
from mugato.system.workers import JobProgress, WorkerDiedError, WorkerPool, variables

OnProgress = Callable[[str, int, int], None]  # called with (name of the job, done, of how many)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to do.

    Attributes:
        name: unlike the others'.
        run: called as `run(progress=JobProgress(...))`; it and its result travel between
            processes.
        cost: how long it takes compared to the others; the longest go first.
        key: what its outcome is found by.
    """

    name: str
    run: Callable[..., Any]
    cost: float = 1.0
    key: Any = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job: `result`, or where that failed one line in `error`.

    Attributes:
        seconds: that it took.
        place: what the job was at when its process died, if it had said so.
    """

    name: str
    key: Any = None
    result: Any = None
    error: str | None = None
    seconds: float = 0.0
    place: int | None = None


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    environment: Mapping[str, str],
    progress: OnProgress = lambda name, done, total: None,
) -> list[Outcome]:
    """Run all jobs; outcomes come in the order of `jobs`, and are the same for any `workers`.

    Args:
        workers: processes of one thread each; with 1 everything happens in this one.
        environment: variables that are set meanwhile, in this process and the others.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    ordered = sorted(jobs, key=lambda job: -job.cost)
    run = _run_here if workers == 1 else partial(_run_in_processes, workers=workers)
    with variables(environment):
        outcomes = run(ordered, progress) if jobs else []
    by_name = {outcome.name: outcome for outcome in outcomes}
    return [by_name[job.name] for job in jobs]


def _run_here(jobs: Sequence[Job], progress: OnProgress) -> list[Outcome]:
    """Run jobs with one thread, as elsewhere."""
    from mugato.system.threads import threads

    outcomes = []
    with threads(1):
        for job in jobs:
            outcomes.append(_run(job, JobProgress(tell=partial(progress, job.name))))
            progress(job.name, 1, 1)
    return outcomes


def _run_in_processes(jobs: Sequence[Job], progress: OnProgress, *, workers: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    # The pool's threads report to this one, so that `progress` is called here and may raise.
    reports: SimpleQueue[tuple[str, int, int, Outcome | None]] = SimpleQueue()

    def tell(job: Job, done: int, total: int) -> None:
        reports.put((job.name, done, total, None))

    def finish(job: Job, future: Future) -> None:
        if not future.cancelled():
            reports.put((job.name, 1, 1, _outcome(job, future)))

    with WorkerPool(min(workers, len(jobs)), grace_s=0.0) as pool:
        for job in jobs:
            future = pool.submit(_run_quietly, job, on_progress=partial(tell, job))
            future.add_done_callback(partial(finish, job))
        while len(outcomes) < len(jobs):
            name, done, total, outcome = reports.get()
            outcomes += [] if outcome is None else [outcome]
            progress(name, done, total)
    return outcomes


def _outcome(job: Job, future: Future) -> Outcome:
    match future.exception():
        case None:
            return future.result()
        case WorkerDiedError(place=place, seconds=seconds) as error:
            return Outcome(
                name=job.name, key=job.key, error=str(error), seconds=seconds, place=place
            )
        case error:
            return Outcome(name=job.name, key=job.key, error=_reason(error))


def _run(job: Job, progress: JobProgress) -> Outcome:
    started = time.perf_counter()
    fields: dict[str, Any] = {}
    try:
        fields["result"] = job.run(progress=progress)
    except Exception as error:  # environments raise what they like
        fields["error"] = _reason(error)
    return Outcome(name=job.name, key=job.key, seconds=time.perf_counter() - started, **fields)


def _run_quietly(job: Job, *, progress: JobProgress) -> Outcome:
    """Run without warnings of environments, which would break into the progress display."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(job, progress)


def _reason(error: BaseException) -> str:
    return describe(error, expected=(ValueError, ImportError, OSError), with_place=True)
