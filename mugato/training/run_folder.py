"""A run's folder: who may write in it, what may not be lost, and how the run in it goes on.

A run that goes on does so from one exact state. What may be changed on the way is what leaves that
state's meaning as it is: how long, how fast and on what, not what is learned by which model.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mugato.model.serialization import CONFIG, WEIGHTS
from mugato.system.files import locked, remove_unfinished, write_text_whole
from mugato.training.checkpoint import STATE, TrainingProgress, read_progress
from mugato.training.config import TrainConfig
from mugato.training.metrics import read_metrics
from mugato.training.run_info import read_config, save_config

BEST, BEST_LOSS = "best", "held_out.json"  # the agent that was best on what is held out
JOB = "torchrun.txt"  # the job that trains here, if torchrun started it
MAY_CHANGE = (
    "optimizer", "loss", "steps", "max_tokens", "max_seconds", "processes", "workers", "precision",
    "compile", "checkpoint_activations", "log_every", "save_every", "shards", "profile", "tracker",
    "evaluate_every", "play_episodes", "device",
)  # fmt: skip


@contextmanager
def claimed(config: TrainConfig, *, resume: bool, overwrite: bool) -> Iterator[list[str]]:
    """Keep the run's folder to this process, after making sure that nothing in it will be lost.

    Yields:
        What a run that goes on has changed in its configuration, one line each.

    Raises:
        ValueError: another process trains there; the folder holds a run, which is neither to go on
            nor to be overwritten; that run cannot go on, or has nothing left to do.
        OSError: the folder cannot be written.
    """
    if resume and overwrite:
        raise ValueError("a run either goes on (resume) or begins anew (overwrite), not both")
    with locked(config.run):
        for folder in (config.run, config.run / BEST):
            remove_unfinished(folder)
        if resume:
            yield _going_on(config)
            return
        if holds_run(config.run) and not overwrite:
            raise ValueError(
                f"{config.run} holds a run: --resume goes on with it, --overwrite begins anew"
            )
        yield []


def holds_run(folder: Path) -> bool:
    """Tell whether there is something to lose: a run's state, or an agent."""
    return any((folder / name).exists() for name in (STATE, WEIGHTS, f"{BEST}/{WEIGHTS}"))


def begin(config: TrainConfig) -> None:
    """Make the folder tell of a new run, and no longer of the one that was there."""
    for name in (STATE, WEIGHTS, CONFIG):
        (config.run / name).unlink(missing_ok=True)
        (config.run / BEST / name).unlink(missing_ok=True)
    (config.run / BEST / BEST_LOSS).unlink(missing_ok=True)
    save_config(config)


def job() -> str | None:
    """Return what tells torchrun's job from others; None where it has no name of its own."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name in ("", "none") else name


def note_job(run: Path) -> None:
    """Write down which job trains in a folder."""
    name = job()
    if name is not None:
        write_text_whole(run / JOB, name)
    else:
        (run / JOB).unlink(missing_ok=True)


def is_of_this_job(run: Path) -> bool:
    """Tell whether this very job of torchrun's has trained in a folder before."""
    path = run / JOB
    return job() is not None and path.is_file() and path.read_text("utf-8") == job()


def used_up(progress: TrainingProgress, config: TrainConfig) -> str | None:
    """Say which budget a run has used up; None while there is something left to do."""
    for flag, done, allowed in (
        ("steps", progress.step, config.steps),
        ("max-tokens", progress.tokens, config.max_tokens),
    ):
        if allowed is not None and done >= allowed:
            return f"{flag} reached ({done:,} of {allowed:,}); raise --{flag}"
    if config.max_seconds is not None and progress.seconds >= config.max_seconds:
        reached = f"{progress.seconds:,.0f} s of {config.max_seconds:,.0f} s"
        return f"max-seconds reached ({reached}); raise --max-seconds"
    return None


def changes(saved: TrainConfig, config: TrainConfig) -> list[str]:
    """List what a run that goes on has changed: "optimizer.lr 0.0005 → 0.001".

    Raises:
        ValueError: for what it may not change, with expected and actual values.
    """
    names = [[dataset.name for dataset in one.datasets] for one in (saved, config)]
    if names[0] != names[1]:
        raise ValueError(
            f"cannot resume {config.run}: it was trained on {names[0]}, not on {names[1]}"
        )
    before, after = dict(fields(saved)), dict(fields(config))
    if after["precision"] == "auto":  # decided when the run began
        after["precision"] = before["precision"]
    changed = [name for name in after if before[name] != after[name] and name != "run"]
    refused = [name for name in changed if name.partition(".")[0] not in MAY_CHANGE]
    if refused:
        differences = "; ".join(f"{n} was {before[n]}, not {after[n]}" for n in refused)
        raise ValueError(f"cannot resume {config.run}: {differences}; that takes a new run")
    return [f"{name} {before[name]} → {after[name]}" for name in changed]


def _going_on(config: TrainConfig) -> list[str]:
    for name in (STATE, WEIGHTS, CONFIG):
        if (config.run / name).is_dir():
            raise ValueError(f"{config.run / name} is a folder, but must be a file")
    read_metrics(config.run)  # will be written anew
    progress = read_progress(config.run)
    changed = changes(read_config(config.run), config)
    if reason := used_up(progress, config):
        raise ValueError(f"nothing left to do in {config.run}: {reason}")
    return changed


def fields(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a configuration with its full name, data sets by their own."""
    for field in dataclasses.fields(value):
        found, name = getattr(value, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(found):
            yield from fields(found, f"{name}.")
        elif field.name == "datasets":
            yield from _datasets(found)
        else:
            yield name, found


def _datasets(datasets: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for dataset in datasets:
        yield from fields(dataset, f"datasets.{dataset.name}.")
