"""Batches computed ahead: by a thread, or by worker processes. Which, makes no difference to them.

Each lane's next batch is asked for as soon as the one before it was taken, so that as many are
under way as there are lanes. Only what was taken counts in the state: what was computed ahead when
a run stops is computed again when it goes on, with as many workers as one likes.

This is a pool of its own and not Grain's `mp_prefetch`, whose order, and so whose state, depends on
the number of workers.
"""

import pickle
import signal
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mugato.data.mixture import LaneState, Mixture, PartState, quiet_grain
from mugato.system.processes import end_with_parent
from mugato.tokens.batch import Batch

# A batch on its way between processes.
Arrays = dict[str, dict[str, np.ndarray]]


class Feed:
    """The next batches of some parts of a mixture, again and again; a context manager.

    Raises:
        ValueError: on entering, if a source cannot be sent to other processes; from `next`,
            whatever a source has to say.
        ChildProcessError: from `next`, if a worker died.
    """

    def __init__(
        self,
        mixture: Mixture,
        parts: Sequence[int],
        state: tuple[PartState, ...],
        *,
        workers: int,
    ) -> None:
        self._mixture, self._parts, self._state = mixture, parts, state
        self._workers = workers
        self._coming: dict[int, deque[Future]] = {part: deque() for part in parts}

    def __enter__(self) -> "Feed":
        with ExitStack() as stack:
            self._executor = _executor(self._mixture, self._workers, stack)
            stack.callback(self._executor.shutdown, wait=True, cancel_futures=True)
            num_lanes = len(self._state[0].lanes)
            for ahead in range(num_lanes):
                for part in self._parts:
                    self._ask(part, (self._state[part].turn + ahead) % num_lanes)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def next(self) -> tuple[list[Batch], tuple[PartState, ...]]:
        """One batch of each part, and the states of all parts after them."""
        batches, states = [], list(self._state)
        for part in self._parts:
            batch, lane = self._taken(self._coming[part].popleft())
            turn = states[part].turn
            states[part] = states[part].after(lane)
            batches.append(batch)
            self._ask(part, turn, lane)
        self._state = tuple(states)
        return batches, self._state

    def _ask(self, part: int, turn: int, lane: LaneState | None = None) -> None:
        """Have a lane's next batch computed."""
        state = self._state[part].lanes[turn] if lane is None else lane
        try:
            if self._workers:
                future = self._executor.submit(_computed, part, turn, state)
            else:
                future = self._executor.submit(self._mixture.lane_batch, part, turn, state)
        except BrokenProcessPool as error:
            raise _died() from error
        self._coming[part].append(future)

    def _taken(self, future: Future) -> tuple[Batch, LaneState]:
        try:
            batch, lane = future.result()
        except BrokenProcessPool as error:
            raise _died() from error
        if self._workers:
            batch = Batch.from_arrays(batch)
        return batch, lane


def _pickled(mixture: Mixture) -> bytes:
    try:
        return pickle.dumps(mixture)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"the data cannot be sent to worker processes ({error}); use workers=0"
        ) from error


def _executor(mixture: Mixture, workers: int, stack: ExitStack) -> Executor:
    """A thread or processes; what these need besides goes with the `stack`."""
    if not workers:
        return ThreadPoolExecutor(1)
    pickled = _pickled(mixture)
    # Through a file: a process that dies before it has read a long argument would hang the pool.
    folder = stack.enter_context(TemporaryDirectory(prefix="mugato-feed-"))
    file = Path(folder) / "mixture.pickle"
    file.write_bytes(pickled)
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(file,)
    )


def _died() -> ChildProcessError:
    return ChildProcessError(
        "a data worker died (out of memory, or a script without `if __name__ == '__main__':`?); "
        "with workers=0 the training process computes the batches itself"
    )


# The mixture of a worker process: it comes once, not with every batch.
_mixture: Mixture | None = None


def _begin(file: Path) -> None:
    """Make a fresh process a worker."""
    global _mixture
    # Ctrl-C and SIGTERM are for whoever started us: the run ends its step, and then ends us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)
    quiet_grain()
    _mixture = pickle.loads(file.read_bytes())


def _computed(part: int, turn: int, state: LaneState) -> tuple[Arrays, LaneState]:
    assert _mixture is not None
    batch, after = _mixture.lane_batch(part, turn, state)
    # As arrays: tensors would each travel through a shared file of its own.
    return batch.to_arrays(), after
