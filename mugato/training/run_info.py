"""What a run's folder tells of it: data sets, steps, tokens, losses; the public side of training.

Evaluation and reports read a run through this. The configuration is kept as JSON beside the agent.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mugato.data.config import DatasetConfig
from mugato.data.registry import ENVIRONMENT_VERSION, is_source
from mugato.system.files import write_text_whole
from mugato.system.typed_json import from_json, read_json
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS
from mugato.tasks.task import Task
from mugato.training.config import TrainConfig
from mugato.training.metrics import read_metrics

TRAIN_CONFIG = "train_config.json"


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a run was asked to do, and how far it came.

    Attributes:
        datasets: what the agent was trained on; None where the folder holds an agent alone.
        max_steps, max_tokens, max_seconds: what the training was allowed; None where no limit is
            said.
        history_dropout: of its tasks, see `TrainConfig`.
        metrics: the reports so far, oldest first, see `StepReport`.
    """

    datasets: tuple[DatasetConfig, ...] | None
    metrics: Sequence[Mapping[str, Any]]
    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    history_dropout: float = 0.0

    @staticmethod
    def read(run: Path) -> "RunInfo":
        """Read a run's folder.

        Raises:
            ValueError: if its configuration is not one of ours.
        """
        path = run / TRAIN_CONFIG
        if not path.exists():
            return RunInfo(datasets=None, metrics=read_metrics(run))
        config = from_json(dict[str, Any], read_json(path), str(path))
        kinds = {
            "datasets": tuple[DatasetConfig, ...], "steps": int | None, "max_tokens": int | None,
            "max_seconds": float | None, "history_dropout": float,
        }  # fmt: skip
        found = {"history_dropout": 0.0, **config}
        data = {
            name: from_json(kind, found.get(name), f"{path}: {name}")
            for name, kind in kinds.items()
        }
        return RunInfo(max_steps=data.pop("steps"), metrics=read_metrics(run), **data)

    @property
    def last(self) -> Mapping[str, Any]:
        """The last report; empty where there is none."""
        return self.metrics[-1] if self.metrics else {}


def is_task(dataset: DatasetConfig) -> bool:
    """Tell whether a data set is the demonstrations of a control task."""
    return dataset.name in TASKS or dataset.demonstrations is not None


def is_played(dataset: DatasetConfig) -> bool:
    """Tell whether a data set is of an environment, also where only its name is known."""
    is_id = ENVIRONMENT_VERSION.search(dataset.name) and not is_source(dataset.name)
    return is_task(dataset) or bool(is_id)


def task_of(dataset: DatasetConfig) -> Task:
    """Return the task of a data set: one of ours, or a Gymnasium environment by its name.

    Raises:
        ValueError: neither is there.
    """
    if dataset.name in TASKS:
        return TASKS[dataset.name]
    task = gymnasium_task(dataset.name, env_kwargs=dataset.env_kwargs, wrappers=dataset.wrappers)
    return replace(task, name=dataset.name)


def save_config(config: TrainConfig) -> None:
    """Make the run's folder and keep the resolved configuration in it."""
    config.run.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"
    write_text_whole(config.run / TRAIN_CONFIG, text)


def read_config(run: Path) -> TrainConfig:
    """Read the configuration of a run, wherever its folder has been moved to.

    Raises:
        ValueError: if there is none, or it is not one of ours.
    """
    path = run / TRAIN_CONFIG
    if not path.exists():
        raise ValueError(f"{run} holds no run: there is no {TRAIN_CONFIG} in it")
    return dataclasses.replace(TrainConfig.from_json(read_json(path), str(path)), run=run)
