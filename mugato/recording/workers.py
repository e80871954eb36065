"""Demonstrations at seed after seed, made in this process or in several.

Results come in the order of the seeds, whoever made them.
"""

import pickle
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing import get_context

import gymnasium

from mugato.recording.demonstrate import (
    AcceptanceCriteria,
    Demonstration,
    RejectedEpisode,
    demonstrate,
    demonstrate_in_worker,
)
from mugato.system.processes import ONE_THREAD, end_with_parent, variables
from mugato.tasks.task import Task

# Per worker: enough to keep all busy while one is slow; more would only fill memory.
SEEDS_AHEAD = 8


@contextmanager
def endless_demonstrations(
    task: Task, env: gymnasium.Env, criteria: AcceptanceCriteria, *, workers: int, first_seed: int
) -> Iterator[Iterator[Demonstration | RejectedEpisode]]:
    """Play the seeds from `first_seed` on; processes end with the block.

    Args:
        env: used where `workers` is 1; other processes make their own.

    Raises:
        ValueError: if the task cannot be pickled, or a process dies.
    """
    if workers == 1:
        yield (demonstrate(task, env, seed, criteria) for seed in count(first_seed))
        return
    run = partial(demonstrate_in_worker, _pickled(task), criteria=criteria)
    with _worker_pool(workers) as pool:
        try:
            yield _in_order(pool, run, first_seed, workers=workers)
        except BrokenProcessPool as error:
            raise ValueError(f"{task.name}: a worker process died (out of memory?)") from error


def _in_order(
    pool: ProcessPoolExecutor, run: partial, first_seed: int, *, workers: int
) -> Iterator[Demonstration | RejectedEpisode]:
    waiting = deque()
    for seed in count(first_seed):
        try:
            waiting.append(pool.submit(run, seed))
        except BrokenProcessPool:  # what was finished before is as good as ever
            yield from (future.result() for future in waiting)
            raise
        if len(waiting) > SEEDS_AHEAD * workers:
            yield waiting.popleft().result()


def _pickled(task: Task) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{task.name} cannot be sent to other processes ({error}); use workers=1"
        ) from error


@contextmanager
def _worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that end with this one, leave Ctrl-C to it and do not fight over cores."""
    with variables(ONE_THREAD):
        pool = ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=_start_worker
        )
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
