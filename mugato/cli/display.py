"""What the command line shows while it works: progress bars, tables, time left."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from mugato.evaluation.config import EvaluationConfig
    from mugato.recording.recorder import RecordConfig, RecordReport
    from mugato.tasks.task import Task

console = Console()
# The parts of a report that hold scores.
REPORTED = ("tasks", "vqa", "caption", "text")


def commands(known: Mapping[str, Callable]) -> None:
    """What `mugato` without a command says."""
    table = Table.grid(padding=(0, 2))
    for name, function in known.items():
        table.add_row(f"  [bold]mugato {name}[/bold]", (function.__doc__ or "").splitlines()[0])
    console.print("One generalist agent: record, train, act, evaluate. Each takes --help.\n", table)


def tasks(known: Iterable["Task"]) -> None:
    """All tasks, one line each."""
    table = Table("task", "domain", "demonstrations", "action noise", box=None)
    for task in known:
        table.add_row(task.name, task.domain, str(task.episodes), f"{task.action_noise:g}")
    console.print(table)


@contextmanager
def status(what: str, *, quiet: bool = False) -> Iterator[None]:
    """A spinner while something takes a moment."""
    if quiet or not console.is_terminal:
        if not quiet:
            console.print(f"{what} ...")
        yield
        return
    with console.status(f"{what} ..."):
        yield


def record(tasks: Sequence["Task"], config: "RecordConfig") -> None:
    """Record tasks one after the other, with a progress bar each.

    Raises:
        ValueError: naming the tasks that could not be recorded, after all others were.
    """
    failed = {}
    for task in tasks:
        try:
            _record(task, config)
        except (ValueError, ImportError) as error:
            if len(tasks) == 1:
                raise
            console.print(
                f"[red]{task.name} was not recorded:[/red] {escape(str(error))}", highlight=False
            )
            failed[task.name] = error
    if failed:
        raise ValueError(f"{len(failed)} of {len(tasks)} not recorded: {', '.join(failed)}")


def _record(task: "Task", config: "RecordConfig") -> None:
    from mugato.recording.recorder import record as record_task

    kept, total = 0, config.episodes or task.episodes
    try:
        with _bar() as bar:
            bar_id = bar.add_task(f"recording {task.name}", total=total)

            def show(episodes: int, dropped: int) -> None:
                nonlocal kept
                kept = episodes
                bar.update(bar_id, completed=kept)

            report = record_task(task, config, on_progress=show)
    except BaseException:
        if kept:
            how = " without --overwrite" if config.overwrite else ""
            console.print(
                f"{task.name}: {kept} of {total} episodes are kept; the same command{how} goes on "
                "from there, --overwrite begins anew",
                soft_wrap=True,
            )
        raise
    console.print(_recorded(report), highlight=False, soft_wrap=True)


def _recorded(report: "RecordReport") -> str:
    from mugato.data.formats.minari.read import open_minari
    from mugato.data.summary import summarize
    from mugato.tokens.text import TextTokenizer
    from mugato.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer(text=TextTokenizer.paper())
    found = summarize(open_minari(report.dataset_id), tokenizer)
    parts = [
        f"{report.dataset_id}: {report.episodes:,} episodes, {report.timesteps:,} timesteps",
        f"{'' if found.exact else '≈ '}{found.tokens:,} tokens",
        f"{report.size_bytes / 1e6:,.1f} MB",
        f"mean return {report.return_mean:.2f}",
    ]
    if report.dropped:
        causes = ", ".join(f"{count} {cause}" for cause, count in report.dropped_by_cause.items())
        parts.append(f"{len(report.dropped)} dropped ({causes})")
    if report.continued:
        parts.append(f"{report.continued} from before")
    return f"{', '.join(parts)}, {report.seconds:.0f} s"


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is told (what is at work, done, of how many)."""
    with _bar() as bar:
        bar_id = bar.add_task(what, total=None)

        def show(part: str, done: int, total: int) -> None:
            bar.update(bar_id, description=f"{what}: {part}", completed=done, total=total)

        yield show


def evaluate(run: Path, config: "EvaluationConfig", *, command: str, started: float | None) -> None:
    """Evaluate with a progress bar, write the report, show scores and what there are none of.

    Raises:
        ValueError: where nothing could be scored; the report says why.
    """
    from mugato.evaluation.evaluate import evaluate as evaluate_run
    from mugato.reports.report import write_report

    with progress("evaluating") as show:
        results = evaluate_run(run, config, command=command, started=started, on_progress=show)
        write_report(results)
    report = results.to_json()
    console.print(_scores(report))
    for name, problem in report["problems"].items():
        console.print(f"[red]{name}:[/red] {escape(problem)}", highlight=False, soft_wrap=True)
    console.print(f"The report is in [bold]{run / 'report.html'}[/bold]")
    if report["problems"] and not any(map(report.get, REPORTED)):
        raise ValueError("nothing could be scored")


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(), console=console,
    )  # fmt: skip


def _scores(report: Mapping[str, Any]) -> Table:
    table = Table("task", "return", "expert", "random", "normalized", "95 % interval", box=None)
    for name, row in report.get("tasks", {}).items():
        low, high = row["ci95"] or (float("nan"), float("nan"))
        score = "none" if row["normalized_score"] is None else f"{row['normalized_score']:.2f}"
        table.add_row(
            name, f"{row['return_mean']:.2f}", f"{row['expert']:.2f}", f"{row['random']:.2f}",
            score, f"{low:.2f} to {high:.2f}",
        )  # fmt: skip
    return table
