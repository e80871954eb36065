"""Which control tasks a run was trained on, and where their demonstrations are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mugato.agent import Agent
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS
from mugato.tasks.task import Task
from mugato.training.loop import TRAIN_CONFIG


@dataclass(frozen=True, kw_only=True)
class RunContents:
    """What the agent in a run's folder learned.

    Attributes:
        tasks: names of control tasks, or ids of Gymnasium environments.
        sources: names of texts, captions and questions.
        demonstrations: Minari data set of each task that does not use its own.
    """

    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    demonstrations: dict[str, str]


def run_contents(run: Path, agent: Agent) -> RunContents:
    """Read the run's resolved config; without one, go by the names that the agent knows.

    Raises:
        ValueError: if the config is not one of ours.
    """
    path = run / TRAIN_CONFIG
    if not path.is_file():
        tasks = tuple(name for name in agent.specs if name in TASKS)
        others = tuple(name for name in agent.specs if name not in TASKS)
        return RunContents(tasks=tasks, sources=others, demonstrations={})
    try:
        config = json.loads(path.read_text())
        return RunContents(
            tasks=tuple(config["tasks"]),
            sources=tuple(config["sources"]),
            demonstrations=dict(config["demonstrations"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a run's config: {error!r}") from None


def chosen_tasks(contents: RunContents, names: Sequence[str] | None) -> tuple[str, ...]:
    """All tasks of the run, or those asked for.

    Raises:
        ValueError: for a task that the run was not trained on.
    """
    if names is None:
        return contents.tasks
    if unknown := [name for name in names if name not in contents.tasks]:
        raise ValueError(f"the run has no task {unknown}, only {list(contents.tasks)}")
    return tuple(names)


def find_task(name: str) -> Task:
    """One of our tasks, or a Gymnasium environment under the name that the agent knows it by.

    Raises:
        ValueError: neither is there.
    """
    return TASKS[name] if name in TASKS else replace(gymnasium_task(name), name=name)
