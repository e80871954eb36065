"""When processes end: signals that ask to stop, and parents that die.

Ctrl-C, SIGTERM and SIGHUP ask for the same: to stop in good order. A process started for another
one ends with it, whatever that dies of.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process, resource_tracker
from threading import Thread
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@contextmanager
def handled(handler: Callable[[int], Any]) -> Iterator[None]:
    """Have `handler(number)` called for each signal that asks to stop.

    Outside of the main thread whoever runs us handles signals. A SIGHUP that is ignored (`nohup`)
    remains so. After one that is not, nothing is written to the terminal, which is gone.
    """
    terminal = [fd for fd in (1, 2) if _is_terminal(fd)]

    def call(number: int, frame: Any) -> None:
        if number == signal.SIGHUP:
            _let_go_of(terminal)
        handler(number)

    before: dict[int, Any] = {}
    try:
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                with suppress(ValueError):  # not the main thread
                    before[number] = signal.signal(number, call)
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold signals back, also from processes that are started meanwhile, until they ask for them.

    A terminal's Ctrl-C goes to all processes: those that still import would each print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Python's own process beside us: it heeds no signal but this one, and starting it lets the
    # others through.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_through() -> None:
    """End what `held_back` began, in a process that was started meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def end_with_parent() -> None:
    """End this process at once when the one that started it ends.

    On Linux the kernel sees to it; a thread does wherever it gets its turn.
    """
    parent = parent_process()
    assert parent is not None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it died before we asked
        os._exit(1)

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _let_go_of(terminal: list[int]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for fd in terminal:
        os.dup2(nowhere, fd)
    os.close(nowhere)
