"""Other processes of ours: what they find in their environment, and when they end."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import parent_process
from threading import Thread

# Read when a process imports NumPy: several processes shall not fight over the cores.
ONE_THREAD: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


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


def end_with_parent() -> None:
    """Have this worker process end when its parent does, whatever that died of.

    A worker of a pool holds both ends of its queue: it would wait forever for a killed parent.
    """
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
