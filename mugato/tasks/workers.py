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
from multiprocessing import get_context

import gymnasium

from mugato.tasks.demonstrate import Demonstration, Dropped, demonstrate, demonstrate_in_worker
from mugato.tasks.task import Task

SEEDS_PER_JOB = 8
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def endless_demonstrations(
    task: Task, env: gymnasium.Env, *, workers: int, first_seed: int, keep_failures: bool
) -> Iterator[Iterator[Demonstration | Dropped]]:
    """Play the seeds from `first_seed` on; processes end with the block.

    Args:
        env: used where `workers` is 1; other processes make their own.

    Raises:
        ValueError: if the task cannot be pickled, or a process dies.
    """
    options = {"action_noise": task.action_noise, "keep_failures": keep_failures}
    if workers == 1:
        yield (demonstrate(task, env, [seed], **options)[0] for seed in count(first_seed))
        return
    seeds_per_job = max(1, min(SEEDS_PER_JOB, task.episodes // (2 * workers)))
    jobs = (range(start, start + seeds_per_job) for start in count(first_seed, seeds_per_job))
    run = partial(demonstrate_in_worker, _pickled(task), **options)
    with _worker_pool(workers) as pool:
        try:
            yield _in_order(pool, run, jobs, num_waiting=2 * workers)
        except BrokenProcessPool as error:
            raise ValueError(f"{task.name}: a worker process died (out of memory?)") from error


def _in_order(
    pool: ProcessPoolExecutor, run: partial, jobs: Iterator[range], *, num_waiting: int
) -> Iterator[Demonstration | Dropped]:
    waiting = deque()
    for seeds in jobs:
        waiting.append(pool.submit(run, seeds))
        if len(waiting) > num_waiting:  # enough to keep all busy; more would only fill memory
            yield from waiting.popleft().result()


def _pickled(task: Task) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{task.name} cannot be sent to other processes ({error}); use workers=1"
        ) from error


@contextmanager
def _worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that leave Ctrl-C to this one and do not fight over cores."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read when a worker imports NumPy
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
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
