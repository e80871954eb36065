"""What the command line shows while it works: progress bars, tables, time left."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from mugato.evaluation.config import EvaluationConfig

console = Console()
# The parts of a report that hold scores.
REPORTED = ("tasks", "vqa", "caption", "text")


def commands(known: Mapping[str, Callable]) -> None:
    """Show what there is, for `mugato` without a command."""
    table = Table.grid(padding=(0, 2))
    for name, function in known.items():
        table.add_row(f"  [bold]mugato {name}[/bold]", (function.__doc__ or "").splitlines()[0])
    console.print("One generalist agent: record, train, act, evaluate. Each takes --help.\n", table)


@contextmanager
def status(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner while something takes a moment."""
    if quiet or not console.is_terminal:
        if not quiet:
            console.print(f"{what} ...")
        yield
        return
    with console.status(f"{what} ..."):
        yield


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar, which is told (what is at work, done, of how many)."""
    with bar() as shown:
        bar_id = shown.add_task(what, total=None)

        def show(part: str, done: int, total: int) -> None:
            shown.update(bar_id, description=f"{what}: {part}", completed=done, total=total)

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


def bar() -> Progress:
    """Return a bar with a count and the time left."""
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
