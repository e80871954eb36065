"""What a run reports: one record per logged step, to a JSON-lines file and to TensorBoard."""

import json
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mugato.system.files import write_text_whole
from mugato.system.optional import require
from mugato.system.typed_json import from_json, within
from mugato.training.checkpoint import TrainingProgress
from mugato.training.config import TrainConfig

METRICS = "metrics.jsonl"


# Of a report, what is drawn beside the losses.
SHOWN = ("loss", "lr", "grad_norm", "tokens_per_s", "fill", "skipped")
# Of a report, by whoever reads it; older runs have no others.
NEEDED = {"step", "loss", "losses", "tokens", "seconds"}


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One logged step.

    Attributes:
        loss: mean over all targets since the last report, in nats.
        losses: the same per source; a source without targets in that time is left out.
        lr: learning rate.
        grad_norm: before clipping.
        tokens, seconds: since the beginning of the run.
        tokens_per_s: since the last report.
        fill: share of the batch's places that are tokens, not padding.
        progress: share of the budget that is used up, 0 to 1: of steps, tokens or time, whichever
            is furthest.
        skipped: steps since the beginning whose loss or gradient was not finite.
        held_out: per source the mean loss on what is not trained on, where it was due.
        returns: per task the mean return of the episodes played, where they were due.
    """

    step: int
    loss: float
    losses: Mapping[str, float]
    lr: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_s: float
    fill: float
    progress: float
    skipped: int
    held_out: Mapping[str, float] = field(default_factory=dict)
    returns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How good the agent is where it is not trained, as `StepReport` tells; empty in between."""

    held_out: Mapping[str, float] = field(default_factory=dict)
    returns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Sums over one step and all processes: per source, loss in nats and number of targets."""

    losses: Float[Tensor, " sources"]
    targets: Float[Tensor, " sources"]
    tokens: int
    grad_norm: float

    @property
    def is_finite(self) -> bool:
        """Whether the step may change the weights; all processes know the same sums."""
        return math.isfinite(self.grad_norm) and bool(self.losses.isfinite().all())


class StepSums:
    """Sums since the last report."""

    def __init__(self, config: TrainConfig, names: list[str], progress: TrainingProgress) -> None:
        self._places = config.batch_rows * config.model.context_length
        self._names = names
        self._start, self._results = progress, list[StepResult]()

    @property
    def any_finite(self) -> bool:
        """Whether there is anything to report."""
        return bool(self._results)

    def add(self, result: StepResult) -> None:
        """Add a step; one that was skipped would make every sum what it is, not finite."""
        if result.is_finite:
            self._results.append(result)

    def report(
        self,
        progress: TrainingProgress,
        lr: float,
        fraction: float,
        looks: Looks,
    ) -> StepReport:
        losses = torch.stack([r.losses for r in self._results]).sum(0)
        targets = torch.stack([r.targets for r in self._results]).sum(0)
        tokens = sum(r.tokens for r in self._results)
        seconds = progress.seconds - self._start.seconds
        report = StepReport(
            step=progress.step,
            loss=float(losses.sum() / targets.sum()),
            losses={
                name: float(losses[i] / targets[i])
                for i, name in enumerate(self._names)
                if targets[i] > 0
            },
            lr=lr,
            grad_norm=self._results[-1].grad_norm,
            tokens=progress.tokens,
            seconds=progress.seconds,
            tokens_per_s=tokens / seconds,
            fill=tokens / (len(self._results) * self._places),
            progress=fraction,
            skipped=progress.skipped,
            held_out=looks.held_out,
            returns=looks.returns,
        )
        self._start, self._results = progress, []
        return report


@runtime_checkable
class Tracker(Protocol):
    """What `wandb.init` and `trackio.init` return."""

    def log(self, values: dict[str, float], *, step: int) -> Any: ...

    def finish(self) -> Any: ...


class MetricsWriter:
    """Appends reports to `metrics.jsonl` and TensorBoard's event files in the run's folder.

    Every method raises OSError, naming the file or folder, for instance when the disk is full.
    """

    def __init__(self, run: Path, *, from_step: int, tracker: Tracker | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._tracker = tracker
        self._path, self._events = run / METRICS, run / "tensorboard"
        kept = [r for r in read_metrics(run) if r["step"] <= from_step] if from_step else []
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_text_whole(self._path, text)
        self._excepthook, threading.excepthook = threading.excepthook, _report_thread
        with _named(self._events):
            self._board = SummaryWriter(str(self._events), purge_step=from_step + 1)

    def write(self, report: StepReport) -> None:
        with _named(self._path), self._path.open("a") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        values = {f"train/{name}": getattr(report, name) for name in SHOWN}
        values |= {f"loss/{source}": loss for source, loss in report.losses.items()}
        values |= {f"held_out/{source}": loss for source, loss in report.held_out.items()}
        values |= {f"return/{task}": value for task, value in report.returns.items()}
        with _named(self._events):
            for name, value in values.items():
                self._board.add_scalar(name, value, report.step)
        if self._tracker is not None:
            self._tracker.log(values, step=report.step)

    def close(self) -> None:
        try:
            with _named(self._events):
                self._board.close()
            if self._tracker is not None:
                self._tracker.finish()
        finally:
            threading.excepthook = self._excepthook


def metrics_writer(config: TrainConfig, *, from_step: int) -> MetricsWriter:
    """Open a run's metrics, and the tracker that it asks for, under the name of its folder.

    Raises:
        ImportError: if the tracker's package is not installed.
    """
    module, tracker = tracker_module(config), None
    if module is not None:
        told = json.loads(json.dumps(asdict(config), default=str))
        tracker = module.init(project="mugato", name=config.run.name, config=told)
    return MetricsWriter(config.run, from_step=from_step, tracker=tracker)


def tracker_module(config: TrainConfig) -> Any:
    """Import what a run is to be reported to beside its folder, if anything.

    Raises:
        ImportError: if the package is not installed.
    """
    return None if config.tracker == "none" else require(config.tracker, extra=config.tracker)


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Report what ended a thread; TensorBoard's own raises it again in who writes or closes."""
    if type(args.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(args)


def read_metrics(run: Path) -> list[dict]:
    """Read all reports of a run, oldest first; a line cut off by a crash is left out.

    Raises:
        ValueError: a file that cannot be read, or a line in it that is no report; names both.
    """
    path = run / METRICS
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return [_report(line, f"{path} line {n}") for n, line in enumerate(lines[:-1], start=1)]


def _report(line: str, where: str) -> dict:
    try:
        report = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    data = from_json(dict[str, Any], report, where)
    known = get_type_hints(StepReport)
    if missing := sorted(NEEDED - data.keys()):
        raise ValueError(f"{where} has no {missing[0]!r}")
    return {key: from_json(known.get(key, Any), data[key], within(where, key)) for key in data}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"could not write {path}: {error.strerror or error}") from error
