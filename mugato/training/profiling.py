"""Where a step's time goes: a trace of a few steps, to be opened in https://ui.perfetto.dev."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

TRACE = "trace.json.gz"
WAIT, WARM_UP, ACTIVE = 5, 2, 3  # steps


@contextmanager
def profiled(run: Path, *, wanted: bool) -> Iterator[Callable[[], None]]:
    """Trace some steps of a run into its folder; yield what is to be called after each step.

    A run of fewer than ten steps ends before there is much to write.
    """
    if not wanted:
        yield lambda: None
        return
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with profile(
        activities=kinds,
        schedule=schedule(wait=WAIT, warmup=WARM_UP, active=ACTIVE, repeat=1),
        on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(run / TRACE)),
    ) as profiler:
        yield profiler.step
