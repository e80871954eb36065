"""`mugato demo`: everything in one go."""

import dataclasses
import time
from pathlib import Path

from mugato.cli.evaluate import evaluate
from mugato.cli.record import preset_tasks, record_and_show, unrecorded
from mugato.cli.train import run_and_show
from mugato.recording.recorder import RecordConfig
from mugato.training.presets import preset


def demo(*, run: Path = Path("runs/demo"), started: float | None = None) -> None:
    """Everything in one go: record what is missing, train one agent, evaluate it, write the report.

    Args:
        run: folder of the run.
        started: when the undertaking began, in seconds since 1970, if installing is to count.
    """
    started = started or time.time()
    record_and_show(unrecorded(preset_tasks("demo")), RecordConfig(workers=2))
    config = dataclasses.replace(preset("demo"), run=run)
    run_and_show(config)
    evaluate(run, started=started)
