"""Batches computed ahead: by a thread, or by worker processes. The batches are the same.

Each shard's next batch is asked for as soon as the one before it was taken, so that as many are
under way as there are shards. Only what was taken counts in the state: what was computed ahead when
a run stops is computed again when it goes on, with as many workers as one likes.

The workers are our own and not Grain's `mp_prefetch`, whose order, and so whose state, depends on
their number.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np

from mugato.data.mixture import MicrobatchState, Mixture, ShardState, quiet_grain
from mugato.system.workers import WorkerDiedError, WorkerPool, pickled
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
            self._submit = self._start(stack)
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
        self._coming[microbatch].append(self._submit(microbatch, shard, state))

    def _take(self, future: Future) -> tuple[Batch, ShardState]:
        try:
            batch, after = future.result()
        except WorkerDiedError as error:
            raise ChildProcessError(
                f"a data worker died with {error.cause} (in a script without "
                "`if __name__ == '__main__':`?); with workers=0 the training process computes the "
                "batches itself"
            ) from error
        return Batch.from_arrays(batch) if self._workers else batch, after

    def _start(self, stack: ExitStack) -> Callable[..., Future]:
        """Start a thread or processes, which end with the stack, and say how they are asked."""
        if not self._workers:
            executor = ThreadPoolExecutor(1)
            stack.callback(executor.shutdown, wait=True, cancel_futures=True)
            return partial(executor.submit, self._mixture.shard_batch)
        data = pickled(self._mixture, name="the data", instead="workers=0")
        pool = WorkerPool(self._workers, setup=partial(_mixture_of, data))
        return partial(stack.enter_context(pool).submit, _compute_in_worker)


@contextmanager
def _mixture_of(data: bytes) -> Iterator[Mixture]:
    """Read the mixture once in each process: it does not come with every batch."""
    quiet_grain()
    yield pickle.loads(data)


def _compute_in_worker(
    mixture: Mixture, microbatch: int, shard: int, state: ShardState
) -> tuple[Arrays, ShardState]:
    batch, after = mixture.shard_batch(microbatch, shard, state)
    # As arrays: pickle takes them as they lie in memory, tensors it does not.
    return batch.to_arrays(), after
