"""A whole run from its configuration: open the data, start the processes, train.

One process for each CPU core is started from here; torchrun does the same from outside. Several
processes of one thread each beat one process of several threads on small models: they meet once a
step instead of at every operation, and lose little when something else wants a core. What there is
to report travels to the process that called `train`.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch

from mugato.training.checkpoint import TrainingProgress
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.loop import run_training
from mugato.training.metrics import StepReport
from mugato.training.setup import (
    check_environments,
    data_warnings,
    make_agent,
    make_mixture,
    make_tokenizer,
    open_sources,
    saved_tokenizer,
)

REPORTED = (ValueError, ImportError, OSError)  # what a user can cause: said in one line
POLL_S = 0.1

OnReport = Callable[[StepReport], None]
OnStatus = Callable[[str], None]


@dataclass(frozen=True)
class Events:
    """What happens to be told while a run goes on."""

    report: OnReport
    status: OnStatus

    def tell(self, event: object) -> None:
        match event:
            case StepReport():
                self.report(event)
            case str():
                self.status(event)


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    on_report: OnReport | None = None,
    on_status: OnStatus | None = None,
) -> TrainingProgress:
    """Train an agent and keep it in the run's folder.

    Ctrl-C and SIGTERM end the current step, save and return. Where several processes train, the
    main module must be importable (`if __name__ == "__main__":`), as ever with spawned processes.

    Args:
        resume: go on where the run in the folder stopped, with its own tokenizer.
        on_report: called every `log_every` steps.
        on_status: called with a line about what is being done.

    Returns:
        How far the run has come.

    Raises:
        ValueError: for data that is missing or damaged, or a run that cannot be resumed.
        ChildProcessError: if a training process died without a word.
    """
    # Read by PyTorch at its first allocation: what a step allocates anew costs fewer page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    count = num_processes(config)
    events = Events(on_report or (lambda report: None), on_status or (lambda status: None))
    for line in check_environments(config.datasets):
        events.tell(f"Warning: {line}")
    if count == 1:
        return _train_here(config, resume, events)
    return run_in_processes(count, _train_here, (config, resume), events)


def num_processes(config: TrainConfig) -> int:
    """Return how many processes this machine should train with.

    Under torchrun, or with a GPU, just this one.
    """
    if "RANK" in os.environ or torch.cuda.is_available():
        return 1
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    wanted = cores if config.processes is None else config.processes
    if config.processes is not None:
        DistributedContext(world_size=wanted).own_microbatches(config.microbatches)
    return max(n for n in range(1, max(1, wanted) + 1) if config.microbatches % n == 0)


def _train_here(config: TrainConfig, resume: bool, events: Events) -> TrainingProgress:
    """Open the data and train in this process, one of several or alone."""
    with distributed_context() as context:
        tell = events.tell if context.is_main else lambda event: None
        tell("Reading demonstrations and text")
        sources = open_sources(config.datasets)
        tokenizer = (
            saved_tokenizer(config, sources)
            if resume
            else make_tokenizer(config.tokenizer, config.model, sources)
        )
        if context.is_main:
            for line in data_warnings(config, sources, tokenizer):
                tell(f"Warning: {line}")
        mixture = make_mixture(config, sources, tokenizer)
        agent = make_agent(config, sources, tokenizer)
        tell(
            f"Training {agent.model.num_parameters / 1e6:.2f} M parameters in {config.run} "
            f"({len(agent.tasks)} data sets; Ctrl-C saves, --resume goes on)"
        )
        return run_training(config, agent, mixture, context, resume=resume, on_report=tell)


def run_in_processes(
    count: int, target: Callable[..., Any], arguments: tuple, events: Events
) -> Any:
    """Run `target(*arguments, events)` in `count` processes that `distributed_context()` joins.

    Ctrl-C and SIGTERM are passed on once to each, which then ends its step and saves.

    Returns:
        What the first process returned.

    Raises:
        ValueError: the first error that a process reported.
        ChildProcessError: if a process died without a word.
    """
    context = multiprocessing.get_context("spawn")
    messages: SimpleQueue = context.SimpleQueue()
    port = _free_port()
    children = [
        context.Process(target=_child, args=(rank, count, port, messages, target, arguments))
        for rank in range(count)
    ]
    for child in children:
        child.start()
    before = {s: signal.signal(s, _forward_to(children)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        outcome = _follow(children, messages, events)
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
        for child in children:  # only if whoever follows the run raised
            if child.is_alive():
                child.terminate()
    if isinstance(outcome, _Error):
        raise ValueError(outcome.message)
    codes = [child.exitcode for child in children if child.exitcode]
    if codes:  # the first to die, not those that were ended for it
        code = next((c for c in codes if c != -signal.SIGKILL), codes[0])
        raise ChildProcessError(f"a training process died with exit code {code}")
    return outcome.value


@dataclass(frozen=True)
class _Result:
    """What the first process returned."""

    value: Any = None


@dataclass(frozen=True)
class _Error:
    """What a process reported before it gave up."""

    message: str


def _child(
    rank: int, count: int, port: int, messages: SimpleQueue, target: Callable, arguments: tuple
) -> None:
    os.setsid()  # the terminal's Ctrl-C reaches the parent alone, which passes it on
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    try:
        result = target(*arguments, Events(messages.put, messages.put))
    except REPORTED as error:
        messages.put(_Error(str(error)))
        os._exit(1)  # the others wait for this one: nothing is left to tidy up
    if rank == 0:
        messages.put(_Result(result))
    sys.stdout.flush()
    os._exit(0)  # what native libraries do at an interpreter's end is not a reason to fail


def _follow(
    children: Sequence[BaseProcess], messages: SimpleQueue, events: Events
) -> _Result | _Error:
    """Pass on what the processes tell until all have ended; return the outcome or an error.

    When one fails the others cannot go on and are ended too.
    """
    outcome: _Result | _Error = _Result()
    while True:
        running = any(child.is_alive() for child in children)
        while not messages.empty():
            match message := messages.get():
                case _Result() | _Error():
                    outcome = outcome if isinstance(outcome, _Error) else message
                case _:
                    events.tell(message)
        if not running:
            return outcome
        children[0].join(timeout=POLL_S)
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
