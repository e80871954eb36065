"""`mugato train`: one agent on a mixture of tasks and sources."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mugato.cli.display import Pace, console
from mugato.cli.record import parsed_env_kwargs
from mugato.cli.train_help import show_estimates, show_usual_flags
from mugato.cli.tune import tune_and_show
from mugato.data.config import DatasetConfig
from mugato.data.formats.multinet.read import expanded
from mugato.data.registry import DOWNLOADED, SOURCES, is_source
from mugato.system.errors import did_you_mean
from mugato.tasks.registry import TASKS
from mugato.training.config import TrainConfig
from mugato.training.metrics import StepReport
from mugato.training.presets import own, preset
from mugato.training.run_info import is_played, is_task, read_config

Chosen = TypeVar("Chosen")
HELP = ("--help", "-h", "--help-all")
FORETELL_S = 20.0  # of training: the first steps are slower than the rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What to train on, chosen before the configuration's own fields.

    Attributes:
        preset: a complete configuration, which the flags change: demo, own, mugato-small
            (47 tasks, to be shipped), babyai, metaworld, generalist (all that has an expert),
            multinet, mini, small, baseline or large. The demo's if none is.
        tasks: control tasks by name. Without a preset these (and `sources`) alone are trained on;
            with one they take the place of the preset's, which keep what it says of them.
        sources: texts, captions, questions and data sets in other formats by name; multinet:FOLDER
            is all of MultiNet's data that lies there.
        env: id of a Gymnasium environment, with `demonstrations`.
        demonstrations: Minari data set of the environment.
        env_kwargs: what the environment is made with, as NAME=VALUE.
        wrapper: "package.module:Wrapper" around the environment, the innermost first.
        weights: shares of the tokens by name, what is not named keeps its own or weighs 1; or
            "uniform"; or "by_tokens": as many as there are.
        shares_from: a run that was tuned, or a shipped agent: what it plays badly gets more of the
            tokens that tasks have together, what it plays as the expert does less.
        history: timesteps after which the agent forgets everything, by name.
        splits: which split of a source, by name.
        fit_scale: names of those whose continuous values are scaled by their range.
        resume: go on where the run in the folder stopped, with its own configuration in the place
            of the preset's; the flags change it as far as that can be.
        overwrite: begin anew where the folder holds a run, which is lost.
        dry_run: say what the run would take on 1 to 64 GPUs, and do nothing.
        tune: then find by playing how the agent acts best in each task, see `mugato tune`.
    """

    preset: str | None = None
    tasks: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    env: str | None = None
    demonstrations: str | None = None
    env_kwargs: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    weights: dict[str, float] | Literal["uniform", "by_tokens"] = dataclasses.field(
        default_factory=dict
    )
    shares_from: Path | None = None
    history: dict[str, int] = dataclasses.field(default_factory=dict)
    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    fit_scale: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False
    dry_run: bool = False
    tune: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where the run is that goes on.

    Attributes:
        run: its folder; the preset's if not given.
    """

    run: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to train: who names one budget is not held by another that was not named."""

    steps: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`.

    Every field of the configuration is a flag; --help-all shows them all. --env ID
    --demonstrations NAME trains on any Minari data set of any Gymnasium environment.
    """

    selection: Annotated[Selection, tyro.conf.arg(name="")]
    config: Annotated[TrainConfig, tyro.conf.arg(name="")]


def train(arguments: Sequence[str]) -> None:
    """Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`."""
    console.quiet = os.environ.get("RANK", "0") != "0"  # under torchrun the first one speaks
    chosen, where = _first_look(Selection, arguments), _first_look(Place, arguments)
    config, budget = selected_config(chosen, where.run), _first_look(Budget, arguments)
    if budget != Budget():
        config = dataclasses.replace(config, **dataclasses.asdict(budget))
    if {"--help", "-h"} & set(arguments):
        show_usual_flags(chosen, config)
        return
    arguments = ["--help" if one == "--help-all" else one for one in arguments]
    command = tyro.cli(
        TrainCommand,
        args=list(arguments),
        default=TrainCommand(selection=Selection(), config=config),
        prog="mugato train",
    )
    picked = command.selection
    if picked.dry_run:
        show_estimates(command.config)
        return
    run_and_show(command.config, resume=picked.resume, overwrite=picked.overwrite)
    if picked.tune:
        tune_if_played(command.config)
    console.print(f"Next: mugato evaluate {command.config.run}")


def selected_config(chosen: Selection, run: Path | None = None) -> TrainConfig:
    """Return the configuration that a selection begins with.

    Args:
        run: the run that is to go on, if its folder is named.

    Raises:
        ValueError: for names that are neither tasks nor data sets of the selection; a run that is
            to go on, but is not there.
    """
    if chosen.env and not chosen.demonstrations:
        raise ValueError("--env needs --demonstrations NAME, a Minari data set")
    if chosen.shares_from and isinstance(chosen.weights, str):
        raise ValueError(f"--weights {chosen.weights} and --shares-from are two ways to set shares")
    if (chosen.env_kwargs or chosen.wrapper) and not chosen.env:
        raise ValueError("--env-kwargs and --wrapper need --env ID")
    if chosen.env and chosen.tasks is not None:
        raise ValueError(
            "--env and --tasks exclude each other: from Python both can be trained on together, "
            "DatasetConfig(name=..., demonstrations=...)"
        )
    if chosen.demonstrations and not chosen.env:
        raise ValueError("--demonstrations NAME needs --env ID, the environment that they are of")
    tasks = (chosen.env,) if chosen.env else chosen.tasks
    alone = chosen.preset is None and (tasks is not None or chosen.sources is not None)
    base = preset(chosen.preset or "demo")
    if chosen.resume:
        base = read_config(run or (own().run if alone else base.run))
    names = _names(chosen, tasks, base, alone=alone)
    known = {dataset.name: dataset for dataset in base.datasets if chosen.resume or not alone}
    datasets = [known.get(name, DatasetConfig(name=name)) for name in names]
    _check_names(chosen, names)
    datasets = [_described(dataset, chosen) for dataset in datasets]
    fresh = alone and not chosen.resume
    config = own(datasets) if fresh else dataclasses.replace(base, datasets=tuple(datasets))
    if isinstance(chosen.weights, str):
        return dataclasses.replace(config, mixing=chosen.weights)
    return config if chosen.shares_from is None else _reweighted(config, chosen.shares_from)


def _reweighted(config: TrainConfig, run: Path) -> TrainConfig:
    """Give tasks the shares that follow from how an agent plays them, and show them."""
    from mugato.evaluation.shares import measured_shares, with_shares

    shares = measured_shares(config.datasets, run)
    table = Table("task", f"score of {run}", "share before", "share", box=None)
    for share in shares:
        columns = (f"{share.score:.2f}", f"{share.before:.2%}", f"{share.after:.2%}")
        table.add_row(share.task, *columns)
    console.print(table)
    return dataclasses.replace(config, datasets=with_shares(config.datasets, shares))


def run_and_show(config: TrainConfig, *, resume: bool = False, overwrite: bool = False) -> None:
    """Train with a live table of the losses."""
    from mugato.corrections.rounds import train as run

    with _Display.shown(config) as display:
        progress = run(
            config,
            resume=resume,
            overwrite=overwrite,
            on_report=display.report,
            on_status=display.status,
        )
    skipped = f", of which {progress.skipped} skipped" if progress.skipped else ""
    console.print(
        f"Trained {progress.step} steps{skipped}, {millions(progress.tokens)} tokens in "
        f"{progress.seconds:.0f} s. The agent is in [bold]{config.run}[/bold]"
    )


def tune_if_played(config: TrainConfig) -> None:
    """Find out how the agent acts best, where it was trained on what can be played here."""
    if any(is_played(dataset) for dataset in config.datasets):
        from mugato.evaluation.tuning import TuningConfig

        console.print("Finding out by playing how it acts best (--no-tune leaves that out)")
        try:
            tune_and_show(config.run, TuningConfig(device=config.device))
        except ValueError as error:  # the agent is trained, and acts as it was taught
            console.print(f"[red]Not tuned: {escape(str(error))}[/red]", highlight=False)


class _Display:
    """A table of the losses with speed and time left; without a terminal lines."""

    def __init__(self, config: TrainConfig, live: Live | None) -> None:
        self._config, self._live, self._skipped = config, live, 0
        self._foretold = config.max_seconds is None
        self._pace = Pace()
        self._bar = Progress(
            TextColumn("step {task.fields[step]}"), BarColumn(),
            TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=1.0, step=0, speed="")

    @staticmethod
    @contextmanager
    def shown(config: TrainConfig) -> Iterator["_Display"]:
        if not console.is_terminal:
            yield _Display(config, None)
            return
        with Live(console=console, refresh_per_second=4) as live:
            yield _Display(config, live)

    def status(self, what: str) -> None:
        console.print(what, highlight=False)

    def report(self, report: StepReport) -> None:
        if report.skipped > self._skipped:
            self._skipped = report.skipped
            self.status(f"{report.skipped} steps skipped: loss or gradient were not finite")
        if not self._foretold and report.seconds >= FORETELL_S:
            self._foretold = True
            self.status(foretold(report, self._config))
        if report.held_out:
            self.status(held_out(report))
        if report.returns:
            self.status(played(report))
        if self._live is not None:
            speed = f"{report.tokens_per_s / 1000:.1f} k tokens/s"
            self._bar.update(self._task, completed=report.progress, step=report.step, speed=speed)
            self._live.update(Group(_losses(report), self._bar))
        elif report.step == 1 or report.progress >= 1 or self._pace.due():
            console.print(
                f"step {report.step} loss {report.loss:.3f} "
                f"{report.tokens_per_s / 1000:.1f} k tokens/s {report.seconds:.0f} s "
                f"({report.progress:.0%})",
                highlight=False,
            )


def held_out(report: StepReport) -> str:
    """Say how the agent does on what it is not trained on."""
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in report.held_out.items())
    mean = fmean(report.held_out.values())
    return f"step {report.step}, held out: loss {mean:.3f} ({losses}); the best is kept in best/"


def played(report: StepReport) -> str:
    """Say how the agent plays."""
    returns = ", ".join(f"{name} {value:.4g}" for name, value in report.returns.items())
    return f"step {report.step}, played: mean return {returns}"


def foretold(report: StepReport, config: TrainConfig) -> str:
    """Say how many tokens the time allows at this pace; scores hang on them."""
    assert config.max_seconds is not None
    tokens = report.tokens * config.max_seconds / report.seconds
    if config.max_tokens is not None:
        tokens = min(tokens, config.max_tokens)
    return (
        f"At this pace about {millions(tokens)} tokens in {config.max_seconds:,.0f} s of training"
    )


def millions(tokens: float | int) -> str:
    """Return a number of tokens to two digits or more.

    >>> millions(10_600_000), millions(1_234_000), millions(20_480)
    ('10.6 M', '1.2 M', '0.02 M')
    """
    return f"{tokens / 1e6:.{1 if tokens >= 1e6 else 2}f} M"


def _losses(report: StepReport) -> Table:
    table = Table("source", "loss (nats)", box=None)
    for name, loss in report.losses.items():
        table.add_row(name, f"{loss:.3f}")
    table.add_row("[bold]all[/bold]", f"[bold]{report.loss:.3f}[/bold]")
    return table


def _described(dataset: DatasetConfig, chosen: Selection) -> DatasetConfig:
    """Add what the selection says of a data set."""
    changes: dict[str, Any] = {}
    by_name: dict[str, Mapping[str, Any]] = {
        "history": chosen.history,
        "split": chosen.splits,
        "fit_scale": dict.fromkeys(chosen.fit_scale, True),
    }
    if not isinstance(chosen.weights, str):
        by_name["weight"] = chosen.weights
    for field, values in by_name.items():
        if dataset.name in values:
            changes[field] = values[dataset.name]
    if dataset.name == chosen.env:
        changes["demonstrations"] = chosen.demonstrations
        changes["env_kwargs"] = parsed_env_kwargs(chosen.env_kwargs)
        changes["wrappers"] = chosen.wrapper
    return dataclasses.replace(dataset, **changes)


def _check_names(chosen: Selection, names: Sequence[str]) -> None:
    settings = {
        "history": chosen.history, "splits": chosen.splits, "weights": chosen.weights,
        "fit-scale": chosen.fit_scale,
    }  # fmt: skip
    for label, values in settings.items():
        if not isinstance(values, str) and (unknown := sorted(set(values) - set(names))):
            raise ValueError(f"{label} name {unknown}, but may name {sorted(names)}")


def _names(
    chosen: Selection, tasks: Sequence[str] | None, base: TrainConfig, *, alone: bool
) -> list[str]:
    """Name what is trained on, tasks first; what was not chosen is as it is in `base`.

    Raises:
        ValueError: for a name that stands for nothing, before anything is read.
    """
    for name in chosen.tasks or ():
        if name not in TASKS:
            hint = "; name an environment with --env and its data set with --demonstrations"
            raise ValueError(f"{name!r} is not one of our tasks{did_you_mean(name, TASKS) or hint}")
    for name in chosen.sources or ():
        if not is_source(name):
            raise ValueError(f"no source {name!r}{did_you_mean(name, [*SOURCES, *DOWNLOADED])}")
    sources = None if chosen.sources is None else [s for c in chosen.sources for s in expanded(c)]
    if tasks is None and sources is None:
        return [dataset.name for dataset in base.datasets]
    known = () if alone else base.datasets
    ours = [dataset.name for dataset in known if is_task(dataset)]
    others = [dataset.name for dataset in known if not is_task(dataset)]
    return [
        *(ours if tasks is None else tasks),
        *(others if sources is None else sources),
    ]


def _first_look(kind: type[Chosen], arguments: Sequence[str]) -> Chosen:
    """Parse what decides the defaults of all other flags, which come later, as does --help."""
    known = [argument for argument in arguments if argument not in HELP]
    return tyro.cli(kind, args=known, return_unknown_args=True, add_help=False)[0]
