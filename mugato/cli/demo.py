"""`mugato demo`: everything in one go."""

import dataclasses
import time
from pathlib import Path

from mugato.cli import display
from mugato.cli.evaluate import evaluate
from mugato.cli.record import preset_tasks, record_and_show, unrecorded
from mugato.cli.train import run_and_show, tune_if_played
from mugato.recording.recorder import RecordConfig
from mugato.training.config import TrainConfig
from mugato.training.presets import preset


def demo(
    *,
    run: Path = Path("runs/demo"),
    minutes: float | None = None,
    started: float | None = None,
    overwrite: bool = False,
) -> None:
    """Everything in one go: record what is missing, train one agent, evaluate it.

    What was interrupted goes on; an agent that is there is evaluated anew.

    Args:
        run: folder of the run.
        minutes: of training; 11.5 if not given. A slow machine wants more: it says after 20 seconds
            how many tokens it will read, and the README what to expect of them.
        started: when the undertaking began, in seconds since 1970, if installing is to count.
        overwrite: train anew where the folder holds a run, which is lost.
    """
    started = started or time.time()
    record_and_show(unrecorded(preset_tasks("demo")), RecordConfig(workers=2))
    config = dataclasses.replace(preset("demo"), run=run)
    if minutes is not None:
        config = dataclasses.replace(config, max_seconds=60 * minutes)
    train_what_is_missing(config, overwrite=overwrite)
    tune_if_played(config)
    evaluate((run,), started=started)


def train_what_is_missing(config: TrainConfig, *, overwrite: bool = False) -> None:
    """Train, from where the run in the folder stopped; not at all if it is complete.

    Raises:
        ValueError: the folder holds another run.
    """
    from mugato.corrections.rounds import with_saved_corrections
    from mugato.training.checkpoint import read_progress
    from mugato.training.run_folder import changes, holds_run, used_up
    from mugato.training.run_info import read_config

    if overwrite or not holds_run(config.run):
        run_and_show(config, overwrite=overwrite)
        return
    config = with_saved_corrections(config)
    changes(read_config(config.run), config)
    if used_up(read_progress(config.run), config) is None:
        run_and_show(config, resume=True)
    else:
        display.console.print(
            f"The agent in [bold]{config.run}[/bold] is trained; --overwrite trains it anew"
        )
