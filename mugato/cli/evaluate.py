"""`mugato evaluate`: scores on fresh seeds, and the report."""

import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from mugato.cli import display
from mugato.cli.sampling_flags import SamplingFlags
from mugato.evaluation.config import EvaluationConfig

if TYPE_CHECKING:
    from mugato.evaluation.results import EvaluationResults
    from mugato.evaluation.trainings import Trainings

COLUMNS = ("task", "return", "expert", "random", "normalized", "95 % interval")


def evaluate(
    run: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    config: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = EvaluationConfig(),
    flags: Annotated[SamplingFlags, tyro.conf.arg(name="")] = SamplingFlags(),
    json: bool = False,
    started: float | None = None,
) -> None:
    """Score an agent on fresh seeds and write report.json, report.md and report.html.

    Several runs are trainings of one recipe with different seeds: each gets its report, and all of
    them together an interval over the trainings. `mugato compare` is for different recipes.

    Args:
        run: folder of the run, or of several.
        config: what to score, and how.
        flags: how actions are chosen.
        json: for a program.
        started: when the whole undertaking began, in seconds since 1970, for `total_seconds`.

    Raises:
        ValueError: where nothing could be scored; a report that is there stays.
    """
    from mugato.cli.at_hand import at_hand
    from mugato.evaluation.trainings import score_together

    if not run:
        raise ValueError("name the folder of a run")
    if twice := next((folder for folder in run if run.count(folder) > 1), None):
        raise ValueError(f"{twice} is named more than once")
    config = replace(config, sampling=flags.sampling())
    run = tuple(map(at_hand, run))
    results = [_evaluate(folder, config, started, quiet=json) for folder in run]
    together = score_together(results) if len(run) > 1 else None
    if json and together is not None:
        display.print_json({str(r.run): r.to_json() for r in results} | together.to_json())
    elif json:
        display.print_json(results[0].to_json())
    elif together is not None:
        _show_together(together, len(run))


def _evaluate(
    run: Path, config: EvaluationConfig, started: float | None, *, quiet: bool
) -> "EvaluationResults":
    """Score one agent, write its report and show it."""
    from mugato.evaluation.evaluate import evaluate as evaluate_run
    from mugato.evaluation.results import read_results
    from mugato.reports.render import HTML, write_report

    if started is not None and not 0 <= started <= time.time():
        raise ValueError(f"--started is a moment that has been, in seconds since 1970: {started}")
    known = None
    with suppress(ValueError):  # none, or one of which nothing is lost
        known = read_results(run)
    with display.progress(f"evaluating {run.name}") as show:
        results = evaluate_run(
            run, config, on_progress=show, command=typed_command(), started=started
        )
        if not results.all_failed:
            write_report(results)
    if results.all_failed:
        raise ValueError(
            f"nothing of {run} could be scored, so no report was written: "
            + "; ".join(_problems(results))
        )
    if not quiet:
        _show(results)
        if known is not None and len(known.tasks) > len(results.tasks):
            display.console.print(
                f"It takes the place of a report of {len(known.tasks)} tasks: `mugato evaluate "
                f"{run}` scores them all again"
            )
        display.console.print(f"The report is in [bold]{run / HTML}[/bold]")
    return results


def _show_together(found: "Trainings", trainings: int) -> None:
    """Show every figure's mean over the trainings, and theirs."""
    table = Table(
        "", "mean", "95 % interval", *[f"run {i + 1}" for i in range(trainings)], box=None
    )
    for name, score in found.scores.items():
        low, high = score.interval or (score.mean, score.mean)
        table.add_row(
            name, f"{score.mean:.3f}", f"{low:.3f} to {high:.3f}",
            *[f"{value:.3f}" for value in score.values],
        )  # fmt: skip
    display.console.print(f"{trainings} trainings; intervals are over the trainings")
    display.console.print(table)
    for line in found.remarks:
        display.console.print(escape(line), highlight=False, soft_wrap=True)


def _show(results: "EvaluationResults") -> None:
    """Show the scores, and what has none."""
    from mugato.reports.scales import MARK, cautions
    from mugato.reports.tables import headline, task_table

    if results.tasks:
        cells = task_table(results).select(*COLUMNS)
        table = Table(*cells.header, box=None)
        for row in cells.rows:
            table.add_row(*row)
        display.console.print(table)
    for what, value, beside in headline(results):
        display.console.print(f"{what}: {value} ({beside})", highlight=False, markup=False)
    for name, why in cautions(results).items():
        display.console.print(f"{name} {MARK}: {why}", highlight=False, markup=False)
    for line in _problems(results):
        display.console.print(f"[red]{escape(line)}[/red]", highlight=False, soft_wrap=True)


def _problems(results: "EvaluationResults") -> list[str]:
    """Return what failed, one line each, every name once."""
    return [
        problem if problem.startswith(f"{name}:") else f"{name}: {problem}"
        for name, problem in results.problems.items()
    ]


def typed_command() -> str:
    """Return what was typed, to be kept with results."""
    return " ".join(["mugato", *sys.argv[1:]])
