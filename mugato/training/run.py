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
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch

from mugato.model.devices import find_device
from mugato.system.signals import end_with_parent, handled, held_back, let_through
from mugato.training.checkpoint import STATE, TrainingProgress
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.held_out import HeldOut
from mugato.training.loop import Play, Watch, run_training
from mugato.training.metrics import StepReport, tracker_module
from mugato.training.run_folder import claimed, is_of_this_job
from mugato.training.setup import (
    as_begun,
    check_environments,
    data_warnings,
    make_agent,
    make_mixture,
    open_parts,
    tokenizer_of,
)

REPORTED = (ValueError, ImportError, OSError)  # what a user can cause: said in one line
POLL_S = 0.1
GRACE_S = 60.0  # for the step and the saving of processes that were asked to stop

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


class TrainingInterrupt(KeyboardInterrupt):
    """Training was interrupted, and what it did is saved; whoever ignores it stops as well.

    Attributes:
        progress: how far the run has come.
    """

    def __init__(self, progress: TrainingProgress, config: TrainConfig) -> None:
        super().__init__(
            f"interrupted at step {progress.step:,}, after {progress.fraction(config):.0%} of the "
            f"budget; what was learned is saved in {config.run}: go on with --resume --run "
            f"{config.run}"
        )
        self.progress = progress


def train_part(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_report: OnReport | None = None,
    on_status: OnStatus | None = None,
    play: Play | None = None,
) -> TrainingProgress:
    """Train an agent and keep it in the run's folder; stop where corrections are due.

    More than one process needs a main module that can be imported (`if __name__ == "__main__":`).

    Args:
        resume: go on where the run in the folder stopped, as what torchrun starts again does by
            itself. What the configuration changes is told and kept; not all may be changed.
        overwrite: begin anew where the folder holds a run, which is lost.
        on_report, on_status: called every `log_every` steps; with a line about what is being done.
        play: see `Watch`.

    Raises:
        TrainingInterrupt: after Ctrl-C, SIGTERM or SIGHUP, which end the current step and save.
        ValueError: for data that is missing or damaged, as `claimed` and `run_training`.
        OSError: if the folder cannot be written; the state that was saved last stays.
        ChildProcessError: if a process died without a word; ImportError for a missing package.
    """
    tracker_module(config)  # asked for before anything is overwritten
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by PyTorch: fewer page faults
    config, count = as_begun(config, resume=resume), num_processes(config)
    events = Events(on_report or (lambda report: None), on_status or (lambda status: None))
    _warn(events, check_environments(config.datasets))
    if count == 1:
        progress = _train_here(config, resume, overwrite, play, events)
    else:
        with claimed(config, resume=resume, overwrite=overwrite):
            pass  # said at once
        progress = run_in_processes(count, _train_here, (config, resume, overwrite, play), events)
    if progress.fraction(config) < config.until:
        raise TrainingInterrupt(progress, config)
    return progress


def _warn(events: Events, lines: Iterable[str]) -> None:
    for line in lines:
        events.tell(f"Warning: {line}")


def as_restarted(
    run: Path, resume: bool, overwrite: bool, context: DistributedContext
) -> tuple[bool, bool]:
    """Go on, or begin anew where nothing was saved, if torchrun started a process again.

    All do as one: on a machine that was replaced nothing tells that there was a first time. Only
    what this very job began: a folder that it was refused stays refused.
    """
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if not (context.any(again) and context.any(context.is_main and is_of_this_job(run))):
        return resume, overwrite
    saved = context.any(context.is_main and (run / STATE).exists())
    return saved, not saved


def num_processes(config: TrainConfig) -> int:
    """Return how many processes this machine should train with.

    Under torchrun, or on a GPU, just this one.
    """
    if "RANK" in os.environ or find_device(config.device).type != "cpu":
        return 1
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    wanted = cores if config.processes is None else config.processes
    if config.processes is not None:
        DistributedContext(world_size=wanted).own_microbatches(config.microbatches)
    return max(n for n in range(1, max(1, wanted) + 1) if config.microbatches % n == 0)


def _train_here(
    config: TrainConfig, resume: bool, overwrite: bool, play: Play | None, events: Events
) -> TrainingProgress:
    """Open the data and train in this process, one of several or alone."""
    with distributed_context(config.device) as context:
        tell = events.tell if context.is_main else lambda event: None
        if not config.corrections:  # whose rounds begin elsewhere
            resume, overwrite = as_restarted(config.run, resume, overwrite, context)
        claim = claimed(config, resume=resume, overwrite=overwrite)
        with claim if context.is_main else nullcontext([]) as changes:
            for change in changes:
                tell(change)
            tell("Reading demonstrations and text")
            sources, apart = open_parts(config.datasets, held_out=config.held_out)
            tokenizer = tokenizer_of(config, sources, resume=resume)
            if context.is_main:
                _warn(events, data_warnings(config, sources, tokenizer))
                for name in sources if config.held_out else ():
                    if name in apart:
                        continue
                    tell(f"Warning: {name} has one episode, so nothing of it is held out")
            mixture = make_mixture(config, sources, tokenizer)
            held_out = HeldOut.of(config, apart, tokenizer)
            agent = make_agent(config, sources, tokenizer, tell=tell)
            plural = "s" if len(agent.tasks) > 1 else ""
            tell(
                f"Training {agent.model.num_parameters / 1e6:.2f} M parameters in {config.run} "
                f"({len(agent.tasks)} data set{plural}; Ctrl-C saves, --resume goes on)"
            )
            return run_training(
                config,
                agent,
                mixture,
                context,
                resume=resume,
                held_out=held_out,
                watch=Watch(on_report=tell, play=play),
            )


def run_in_processes(
    count: int, target: Callable[..., Any], arguments: tuple, events: Events
) -> Any:
    """Run `target(*arguments, events)` in `count` processes that `distributed_context()` joins.

    Whatever asks this process to stop is passed on to each, which then ends its step and saves; a
    second Ctrl-C ends them at once.

    Returns:
        What the first process returned.

    Raises:
        ValueError: the first error that a process reported.
        ChildProcessError: if a process died without a word.
        KeyboardInterrupt: they were asked to stop before there was anything to return.
    """
    context = multiprocessing.get_context("spawn")
    with held_back():  # the first lock starts Python's own process beside us
        messages: SimpleQueue = context.SimpleQueue()
    port = _free_port()
    children = [
        context.Process(target=_child, args=(rank, count, port, messages, target, arguments))
        for rank in range(count)
    ]
    with _stopped_with(children) as asked:
        with held_back():
            for child in children:
                child.start()
        outcome = _follow(children, messages, events)
    match outcome:
        case _Result(value=value):
            return value
        case _ if asked:
            raise KeyboardInterrupt
        case _Error(message=message):
            raise ValueError(message)
        case _Crash(text=text):
            raise RuntimeError(f"a training process failed:\n{text}")
        case _Death(code=code):
            raise ChildProcessError(f"a training process died with exit code {code}")


@contextmanager
def _stopped_with(children: Sequence[BaseProcess]) -> Iterator[list[int]]:
    """Ask the children to stop when this process is asked, or fails; yield what it was asked."""
    asked: list[int] = []

    def stop(number: int) -> None:
        again = number == signal.SIGINT and number in asked
        for child in children:
            if child.pid is not None and again:
                child.kill()
            elif child.pid is not None and not asked:
                child.terminate()  # while a child imports, Ctrl-C would be a traceback
        asked.append(number)
        if again:
            raise KeyboardInterrupt

    with handled(stop):
        try:
            yield asked
        finally:
            if any(child.pid is not None and child.is_alive() for child in children):
                if not asked:
                    stop(signal.SIGTERM)
                for child in children:
                    child.join(GRACE_S)
                    child.kill()


@dataclass(frozen=True)
class _Result:
    """What the first process returned."""

    value: Any


@dataclass(frozen=True)
class _Error:
    """What a process reported before it gave up."""

    message: str


@dataclass(frozen=True)
class _Crash:
    """The traceback of what nobody foresaw, or of a process that lost the others."""

    text: str


@dataclass(frozen=True)
class _Death:
    """The exit code of a process that died without a word, the first to do so."""

    code: int


_Outcome = _Result | _Error | _Crash | _Death


def _child(
    rank: int, count: int, port: int, messages: SimpleQueue, target: Callable, arguments: tuple
) -> None:
    os.setsid()  # the terminal's Ctrl-C reaches the parent alone, which passes it on
    let_through()
    end_with_parent()
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
    except BaseException:
        messages.put(_Crash(traceback.format_exc()))
        os._exit(1)
    if rank == 0:
        messages.put(_Result(result))
    sys.stdout.flush()
    os._exit(0)  # what native libraries do at an interpreter's end is not a reason to fail


def _follow(children: Sequence[BaseProcess], messages: SimpleQueue, events: Events) -> _Outcome:
    """Pass on what the processes tell until all have ended; return the outcome.

    When one fails the others cannot go on and are ended too. What was reported counts more than
    how a process ended, but one that was killed is the cause of what the others then report.
    """
    said: _Result | _Error | _Crash | None = None
    died: _Death | None = None
    while True:
        running = any(child.is_alive() for child in children)
        codes = [child.exitcode for child in children if child.exitcode]
        if codes and died is None:
            died = _Death(min(codes))  # by a signal, if one was
        while not messages.empty():
            match message := messages.get():
                case _Result() | _Error() | _Crash():
                    said = said if isinstance(said, _Error | _Crash) else message
                case _:
                    events.tell(message)
        if not running:
            break
        children[0].join(timeout=POLL_S)
        if codes:
            for child in children:
                child.kill()
    if said is not None and not (isinstance(said, _Crash) and died is not None and died.code < 0):
        return said
    return died or _Death(0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
