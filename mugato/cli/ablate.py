"""`mugato ablate`: what a prompt is worth."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from mugato.cli import display


def ablate(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    tasks: tuple[str, ...] | None = None,
    episodes: int = 20,
    workers: int = 2,
) -> None:
    """Score an agent without a prompt, with the right demonstration and with a wrong task's.

    Writes ablation.json and ablation.md into the run's folder.

    Args:
        run: folder of the run.
        tasks: only these; all that the agent was trained on if not given.
        episodes: per task and condition, on seeds from 3,000,000 that no demonstration uses.
        workers: processes.
    """
    from mugato.evaluation.config import EvaluationConfig, make_plan
    from mugato.reports.ablation import ablate as ablate_run
    from mugato.reports.ablation import ablation_markdown

    config = EvaluationConfig(tasks=tasks, episodes=episodes, workers=workers, videos=False)
    plan = make_plan(run, config)
    command = " ".join(["mugato", *sys.argv[1:]])
    with display.progress("ablating") as show:
        data = ablate_run(plan, command=command, on_progress=show)
    display.console.print(ablation_markdown(data), markup=False, highlight=False, soft_wrap=True)
