"""One training process for each CPU core, started from here; torchrun does the same from outside.

Several processes of one thread each beat one process of several threads on small models: they meet
once a step instead of at every operation, and lose little when something else wants a core.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch

from mugato.training.config import TrainConfig
from mugato.training.distributed import Ranks

REPORTED = (ValueError, ImportError, OSError)  # what a user can cause: said in one line


def num_processes(config: TrainConfig) -> int:
    """How many processes this machine should train with.

    Under torchrun, or with a GPU, just this one.
    """
    if "RANK" in os.environ or torch.cuda.is_available():
        return 1
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    wanted = cores if config.processes is None else config.processes
    if config.processes is not None:
        Ranks(world_size=wanted).share(config.batch_parts)
    return max(n for n in range(1, max(1, wanted) + 1) if config.batch_parts % n == 0)


def run_in_processes(count: int, target: Callable[..., None], *arguments: Any) -> None:
    """Run `target(*arguments)` in `count` processes that `ranks()` will join.

    Ctrl-C and SIGTERM are passed on once to each, which then ends its step and saves.

    Raises:
        ValueError: the first error that a process reported.
        ChildProcessError: if a process died without a word.
    """
    context = multiprocessing.get_context("spawn")
    errors: SimpleQueue[str] = context.SimpleQueue()
    port = _free_port()
    children = [
        context.Process(target=_child, args=(rank, count, port, errors, target, arguments))
        for rank in range(count)
    ]
    for child in children:
        child.start()
    before = {s: signal.signal(s, _forward_to(children)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        _wait(children)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
    if not errors.empty():
        raise ValueError(errors.get())
    codes = [child.exitcode for child in children if child.exitcode]
    if codes:  # the first to die, not those that were ended for it
        code = next((c for c in codes if c != -signal.SIGKILL), codes[0])
        raise ChildProcessError(f"a training process died with exit code {code}")


def _child(
    rank: int, count: int, port: int, errors: SimpleQueue, target: Callable, arguments: tuple
) -> None:
    os.setsid()  # the terminal's Ctrl-C reaches the parent alone, which passes it on
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    try:
        target(*arguments)
    except REPORTED as error:
        errors.put(str(error))
        os._exit(1)  # the others wait for this one: nothing is left to tidy up
    sys.stdout.flush()
    os._exit(0)  # what native libraries do at an interpreter's end is no reason to fail


def _wait(children: Sequence[BaseProcess]) -> None:
    """Until all have ended; when one fails the others cannot go on and are ended too."""
    while any(child.is_alive() for child in children):
        for child in children:
            child.join(timeout=0.2)
        if any(child.exitcode for child in children):
            for child in children:
                child.kill()


def _forward_to(children: Sequence[BaseProcess]) -> Callable:
    def forward(number: int, frame: Any) -> None:
        for child in children:
            if child.pid and child.is_alive():
                os.kill(child.pid, number)

    return forward


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
