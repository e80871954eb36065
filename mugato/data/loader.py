"""Batches computed ahead: by a thread, or by worker processes. The batches are the same.

Each shard's next batch is asked for as soon as the one before it was taken, so that as many are
under way as there are shards. Only what was taken counts in the state: what was computed ahead when
a run stops is computed again when it goes on, with as many workers as one likes.

This is a pool of its own and not Grain's `mp_prefetch`, whose order, and so whose state, depends on
the number of workers.
"""

import pickle
import signal
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mugato.data.mixture import MicrobatchState, Mixture, ShardState, quiet_grain
from mugato.system.processes import end_with_parent
from mugato.tokens.batch import Batch

# A batch on its way between processes.
Arrays = dict[str, dict[str, np.ndarray]]


class BatchLoader:
    """The next batches of some microbatches of a mixture, again and again; a context manager.

    Raises:
        ValueError: on entering, if a source cannot be sent to other processes; from `next`,
            whatever a source has to say.
        ChildProcessError: from `next`, if a worker died.
    """

    def __init__(
        self,
        mixture: Mixture,
        microbatches: Sequence[int],
        state: tuple[MicrobatchState, ...],
        *,
        workers: int,
    ) -> None:
        self._mixture, self._microbatches, self._state = mixture, microbatches, state
        self._workers = workers
        self._coming: dict[int, deque[Future]] = {number: deque() for number in microbatches}

    def __enter__(self) -> "BatchLoader":
        with ExitStack() as stack:
            self._executor, self._compute = self._start(stack)
            stack.callback(self._executor.shutdown, wait=True, cancel_futures=True)
            num_shards = len(self._state[0].shards)
            for ahead in range(num_shards):
                for number in self._microbatches:
                    state = self._state[number]
                    shard = (state.next_shard + ahead) % num_shards
                    self._ask(number, shard, state.shards[shard])
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def next(self) -> tuple[list[Batch], tuple[MicrobatchState, ...]]:
        """Return one batch of each microbatch, and the states of all microbatches after them."""
        batches, states = [], list(self._state)
        for number in self._microbatches:
            batch, after = self._take(self._coming[number].popleft())
            shard = states[number].next_shard
            states[number] = states[number].after(after)
            batches.append(batch)
            self._ask(number, shard, after)
        self._state = tuple(states)
        return batches, self._state

    def _ask(self, microbatch: int, shard: int, state: ShardState) -> None:
        """Have a shard's next batch computed."""
        try:
            future = self._executor.submit(self._compute, microbatch, shard, state)
        except BrokenProcessPool as error:
            raise _died() from error
        self._coming[microbatch].append(future)

    def _take(self, future: Future) -> tuple[Batch, ShardState]:
        try:
            batch, after = future.result()
        except BrokenProcessPool as error:
            raise _died() from error
        return Batch.from_arrays(batch) if self._workers else batch, after

    def _start(self, stack: ExitStack) -> tuple[Executor, Callable]:
        """Start a thread or processes, and say what they compute batches with.

        What processes need besides goes with the `stack`.
        """
        if not self._workers:
            return ThreadPoolExecutor(1), self._mixture.shard_batch
        pickled = _pickled(self._mixture)
        # Through a file: a process that dies before it has read a long argument hangs the pool.
        folder = stack.enter_context(TemporaryDirectory(prefix="mugato-loader-"))
        file = Path(folder) / "mixture.pickle"
        file.write_bytes(pickled)
        context = get_context("spawn")
        pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin)
        return pool, partial(_compute_in_worker, file)


def _pickled(mixture: Mixture) -> bytes:
    try:
        return pickle.dumps(mixture)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the data cannot be sent to worker processes ({error}); use workers=0"
        ) from error


def _died() -> ChildProcessError:
    return ChildProcessError(
        "a data worker died (out of memory, or a script without `if __name__ == '__main__':`?); "
        "with workers=0 the training process computes the batches itself"
    )


def _begin() -> None:
    """Make a fresh process a worker."""
    # Ctrl-C and SIGTERM are for whoever started us: the run ends its step, and then ends us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    quiet_grain()


@lru_cache(maxsize=1)
def _read_mixture(file: Path) -> Mixture:
    """Read the mixture once in each process: it does not come with every batch."""
    return pickle.loads(file.read_bytes())


def _compute_in_worker(
    file: Path, microbatch: int, shard: int, state: ShardState
) -> tuple[Arrays, ShardState]:
    batch, after = _read_mixture(file).shard_batch(microbatch, shard, state)
    # As arrays: tensors would each travel through a shared file of its own.
    return batch.to_arrays(), after
