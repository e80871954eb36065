"""`mugato evaluate`: scores on fresh seeds, and the report."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from mugato.cli import display


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    episodes: int = 50,
    tasks: tuple[str, ...] | None = None,
    workers: int = 2,
    started: float | None = None,
) -> None:
    """Score a trained agent on fresh seeds and write report.json, report.md and report.html.

    Args:
        run: folder of the run.
        episodes: episodes per task, on seeds from 3,000,000 that no demonstration uses.
        tasks: only these, sources of text, captions and questions too; all that the agent was
            trained on if not given.
        workers: processes.
        started: when the whole undertaking began, in seconds since 1970, for `total_seconds`.
    """
    from mugato.evaluation.config import EvaluationConfig

    config = EvaluationConfig(tasks=tasks, episodes=episodes, workers=workers)
    display.evaluate(run, config, started=started, command=_command())


def _command() -> str:
    return " ".join(["mugato", *sys.argv[1:]])
