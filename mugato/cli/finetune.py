"""`mugato finetune`: an agent on few demonstrations of a task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from mugato.cli import display
from mugato.cli.evaluate import typed_command
from mugato.evaluation.finetuning import REPORT, FinetuneConfig, folder_of

if TYPE_CHECKING:
    from mugato.evaluation.finetuning import Shots

FIGURE = "finetuning.svg"


def finetune(
    agent: Annotated[Path, tyro.conf.Positional],
    *,
    task: str | None = None,
    env: str | None = None,
    demonstrations: str | None = None,
    history: int | None = None,
    config: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),
) -> None:
    """Train an agent on few demonstrations of a task, beside fresh weights.

    Shown and drawn is the return against the number of demonstrations, with intervals over seeds.

    Example: `mugato finetune mugato-small --task babyai-pickup --episodes 0 10 100`. What was done
    is kept, and the same command goes on.

    Args:
        agent: folder of the run, or the name of an agent that comes with the package.
        task: one of our tasks.
        env: a Gymnasium environment instead, with `demonstrations`.
        demonstrations: Minari data set; the task's own if not given.
        history: timesteps after which the agent forgets everything.
        config: how.
    """
    from mugato.cli.train import Selection, selected_config
    from mugato.evaluation.finetuning import finetune as finetune_agent
    from mugato.reports.figures import draw_shots

    if (task is None) == (env is None):
        raise ValueError("name a --task of ours, or your own --env with its --demonstrations")
    tasks = None if task is None else (task,)
    chosen = Selection(tasks=tasks, sources=(), env=env, demonstrations=demonstrations)
    [dataset] = selected_config(chosen).datasets
    dataset = replace(dataset, history=history)
    shots = finetune_agent(agent, dataset, config, on_status=_tell, command=typed_command())
    folder = folder_of(config, dataset)
    draw_shots(shots, folder / FIGURE, title=f"{dataset.name}, from {agent.name}")
    display.console.print(_table(shots))
    display.console.print(f"{REPORT} and {FIGURE} are in [bold]{folder}[/bold]")


def _tell(line: str) -> None:
    display.progress_console.print(line, highlight=False, soft_wrap=True)


def _table(shots: "list[Shots]") -> Table:
    table = Table("demonstrations", "start", "return", "score", "95 % interval", box=None)
    for row in shots:
        found = row.scores or row.returns
        low, high = found.interval or (found.mean, found.mean)
        table.add_row(
            str(row.episodes), row.start, f"{row.returns.mean:.2f}",
            f"{row.scores.mean:.2f}" if row.scores else "", f"{low:.2f} to {high:.2f}",
        )  # fmt: skip
    return table
