"""Recording with settings as keywords, as the tests vary them."""

from collections.abc import Callable
from typing import Any

from mugato.recording.recorder import RecordConfig, RecordReport
from mugato.recording.recorder import record as record_task
from mugato.tasks.task import Task


def record(
    task: Task | str, *, progress: Callable[[int, int], None] | None = None, **settings: Any
) -> RecordReport:
    return record_task(task, RecordConfig(**settings), on_progress=progress)
