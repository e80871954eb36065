"""A training with corrections in between (DAgger, Ross et al. 2011): `train`, in rounds.

The budget is cut into equal parts. After each but the last the agent acts in its tasks as it then
is, and what the experts say joins the demonstrations: the sources stay the same in name, number and
weight. Where a run stands follows from what is on disk. Its configuration names the corrections
that joined so far, their data sets are named after the weights that drove, and at the end of a part
those weights lie in the run's folder until all of the round is recorded.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from minari import load_dataset

from mugato.agent import Agent
from mugato.corrections.recorder import (
    CorrectionConfig,
    cannot_correct,
    corrections_id,
    default_episodes,
    record_corrections,
    weights_of,
)
from mugato.data.config import DatasetConfig
from mugato.evaluation.config import load_agent
from mugato.evaluation.while_training import Playing
from mugato.recording.store import is_recorded
from mugato.tasks.task import Task
from mugato.training.checkpoint import TrainingProgress
from mugato.training.config import TrainConfig
from mugato.training.run import OnReport, OnStatus, TrainingInterrupt, train_part
from mugato.training.run_info import is_task, read_config, save_config, task_of


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_report: OnReport | None = None,
    on_status: OnStatus | None = None,
) -> TrainingProgress:
    """Train an agent, with as many rounds of corrections as the configuration asks for.

    Without any it is `mugato.training.run.train_part`, whose arguments and errors these are.

    Raises:
        ValueError: corrections are asked for, but there already are some, or nothing of what the
            agent learns can be corrected.
    """
    if resume:
        config = with_saved_corrections(config)
    elif config.corrections and config.rounds:
        raise ValueError("a run records its own corrections, or is given some, not both")
    if config.corrections and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("corrections are recorded by one process, and torchrun started several")
    tell = on_status or (lambda line: None)
    play = Playing.of(config) if config.play_episodes else None
    while True:
        progress = train_part(
            config, resume=resume, overwrite=overwrite, on_report=on_report, on_status=on_status,
            play=play,
        )  # fmt: skip
        if config.until == 1.0:
            return progress
        try:
            config = _corrected(config, config.rounds + 1, tell)
        except KeyboardInterrupt:
            raise TrainingInterrupt(progress, config) from None
        save_config(config)
        resume, overwrite = True, False


def with_saved_corrections(config: TrainConfig) -> TrainConfig:
    """Add the corrections that a run in its folder has come to.

    Raises:
        ValueError: if there is no run in it.
    """
    if not config.corrections or config.rounds:
        return config
    saved = {dataset.name: dataset.corrections for dataset in read_config(config.run).datasets}
    datasets = (replace(d, corrections=saved.get(d.name, ())) for d in config.datasets)
    return replace(config, datasets=tuple(datasets))


@dataclass(frozen=True, kw_only=True)
class _Correctable:
    """A data set of a run whose agent can be corrected."""

    dataset: DatasetConfig
    task: Task


def _corrected(config: TrainConfig, number: int, tell: OnStatus) -> TrainConfig:
    """Record one round; return the configuration with it.

    Raises:
        ValueError: if nothing could be recorded.
    """
    agent, weights = load_agent(config.run, "cpu"), weights_of(config.run)
    found: dict[str, DatasetConfig] = {}
    # What cannot be corrected at all stays so: it is said once.
    for one in _correctable(config, agent, tell if number == 1 else lambda line: None):
        try:
            dataset_id = _recorded(config, one, weights, number, tell)
        except (ValueError, ImportError) as error:
            tell(f"Warning: {one.task.name} is not corrected this time: {error}")
            continue
        known = one.dataset.corrections
        found[one.dataset.name] = replace(one.dataset, corrections=(*known, dataset_id))
    if not found:
        raise ValueError(
            f"{config.run}: nothing could be corrected; train with --corrections 0, or on tasks "
            "that have an expert (`mugato record list`)"
        )
    return replace(config, datasets=tuple(found.get(d.name, d) for d in config.datasets))


def _correctable(config: TrainConfig, agent: Agent, tell: OnStatus) -> Iterator[_Correctable]:
    """Yield what can be corrected, and tell of the tasks that cannot."""
    for dataset in config.datasets:
        if not is_task(dataset) or dataset.weight == 0:
            continue
        try:
            task = task_of(dataset)
            reason = cannot_correct(task, agent)
        except (ValueError, ImportError) as error:
            reason = str(error)
        if reason is None:
            yield _Correctable(dataset=dataset, task=task)
        else:
            tell(f"{dataset.name} is left without corrections: {reason}")


def _recorded(
    config: TrainConfig, one: _Correctable, weights: str, number: int, tell: OnStatus
) -> str:
    """Record the corrections of one task, or finish them; return their Minari id."""
    task, dataset_id = one.task, corrections_id(one.task, weights)
    if is_recorded(dataset_id):
        return dataset_id
    demonstrations = one.dataset.demonstrations or task.dataset_id
    count = int(load_dataset(demonstrations).total_episodes)
    episodes = default_episodes(count, config.correction_share)
    settings = CorrectionConfig(
        driver=config.run,
        episodes=episodes,
        demonstrations=demonstrations,
        workers=config.processes or 2,
    )
    what = f"round {number} of {config.corrections}"
    tell(f"Recording {episodes:,} corrections in {task.name} ({what})")
    report = record_corrections(task, settings)
    cut = f", {len(report.cut)} cut where the expert had no answer" if report.cut else ""
    tell(
        f"{report.dataset_id}: {report.timesteps:,} timesteps, the agent's mean return "
        f"{report.return_mean:.2f}{cut}, {report.seconds:.0f} s"
    )
    return report.dataset_id
