"""`mugato tune`: how an agent acts best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from mugato.cli import display
from mugato.cli.evaluate import typed_command

if TYPE_CHECKING:
    from mugato.evaluation.tuning import Tuning, TuningConfig


def tune(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    tasks: tuple[str, ...] | None = None,
    episodes: int = 16,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Find how an agent acts best in each task, and keep that; `mugato train` does so too.

    How far it looks back, how boldly it samples, what it takes of a continuous action: each way is
    played on seeds that serve nothing else.

    No weight changes.

    Args:
        run: folder of the run, or the name of an agent that comes with the package.
        tasks: only these; all that the agent was trained on if not given.
        episodes: of each way.
        workers: processes.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
    """
    from mugato.cli.at_hand import at_hand
    from mugato.evaluation.tuning import TuningConfig

    config = TuningConfig(tasks=tasks, episodes=episodes, workers=workers, device=device)
    tune_and_show(at_hand(run), config)


def tune_and_show(run: Path, config: "TuningConfig") -> None:
    """Tune with a progress bar, and show what was chosen."""
    from mugato.evaluation.tuning import tune as tune_run

    with display.progress("finding out how to act") as show:
        tuning = tune_run(run, config, on_progress=show, command=typed_command())
    if tuning.ways:
        display.console.print(_table(tuning))
    else:
        display.console.print("The agent plays no task: there is nothing to tune")
    for name, why in tuning.problems.items():
        display.console.print(f"[red]{escape(name)}: {escape(why)}[/red]", highlight=False)


def _table(tuning: "Tuning") -> Table:
    from mugato.reports.tables import way

    table = Table("task", "acts by", "mean return", "as it was taught", box=None)
    for name, ways in tuning.ways.items():
        best = tuning.best(name)
        described = way(best.task.sampling, best.task.history)
        table.add_row(name, described, f"{best.mean:.4g}", f"{ways[0].mean:.4g}")
    return table
