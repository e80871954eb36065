"""`mugato evaluate`: scores on fresh seeds, and the report."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from mugato.cli import display
from mugato.evaluation.config import EvaluationConfig

if TYPE_CHECKING:
    from mugato.evaluation.results import EvaluationResults

COLUMNS = ("task", "return", "expert", "random", "normalized", "95 % interval")


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = EvaluationConfig(),
    greedy: bool = False,
    started: float | None = None,
) -> None:
    """Score a trained agent on fresh seeds and write report.json, report.md and report.html.

    Args:
        run: folder of the run.
        config: what to score, and how.
        greedy: take the likeliest id every time, as --temperature 0 does.
        started: when the whole undertaking began, in seconds since 1970, for `total_seconds`.

    Raises:
        ValueError: where nothing could be scored; a report that is there stays.
    """
    from mugato.acting.sampling import GREEDY
    from mugato.evaluation.evaluate import evaluate as evaluate_run
    from mugato.reports.render import HTML, write_report

    if greedy:
        config = replace(config, sampling=GREEDY)
    with display.progress("evaluating") as show:
        results = evaluate_run(
            run, config, on_progress=show, command=typed_command(), started=started
        )
        if not results.all_failed:
            write_report(results)
    _show(results)
    if results.all_failed:
        raise ValueError("nothing could be scored, so no report was written")
    display.console.print(f"The report is in [bold]{run / HTML}[/bold]")


def _show(results: "EvaluationResults") -> None:
    """Show the scores, and what has none."""
    from mugato.reports.scales import MARK, cautions
    from mugato.reports.tables import task_table

    cells = task_table(results).select(*COLUMNS)
    table = Table(*cells.header, box=None)
    for row in cells.rows:
        table.add_row(*row)
    display.console.print(table)
    for name, why in cautions(results).items():
        display.console.print(f"{name} {MARK}: {why}", highlight=False, markup=False)
    for name, problem in results.problems.items():
        line = f"[red]{name}:[/red] {escape(problem)}"
        display.console.print(line, highlight=False, soft_wrap=True)


def typed_command() -> str:
    """Return what was typed, to be kept with results."""
    return " ".join(["mugato", *sys.argv[1:]])
