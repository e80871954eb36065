"""Demonstrations at seed after seed, made in this process or in several.

Results come in the order of the seeds, whoever made them.
"""

import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import count
from multiprocessing import get_context, parent_process
from threading import Thread

import gymnasium

from mugato.tasks.demonstrate import (
    Demonstration,
    Dropped,
    Terms,
    demonstrate,
    demonstrate_in_worker,
)
from mugato.tasks.task import Task

# Per worker: enough to keep all busy while one is slow; more would only fill memory.
SEEDS_AHEAD = 8
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def endless_demonstrations(
    task: Task, env: gymnasium.Env, terms: Terms, *, workers: int, first_seed: int
) -> Iterator[Iterator[Demonstration | Dropped]]:
    """Play the seeds from `first_seed` on; processes end with the block.

    Args:
        env: used where `workers` is 1; other processes make their own.

    Raises:
        ValueError: if the task cannot be pickled, or a process dies.
    """
    if workers == 1:
        yield (demonstrate(task, env, seed, terms) for seed in count(first_seed))
        return
    run = partial(demonstrate_in_worker, _pickled(task), terms=terms)
    with _worker_pool(workers) as pool:
        try:
            yield _in_order(pool, run, first_seed, workers=workers)
        except BrokenProcessPool as error:
            raise ValueError(f"{task.name}: a worker process died (out of memory?)") from error


def _in_order(
    pool: ProcessPoolExecutor, run: partial, first_seed: int, *, workers: int
) -> Iterator[Demonstration | Dropped]:
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
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read when a worker imports NumPy
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker holds both ends of its queue, so that it would wait forever for a killed parent."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
