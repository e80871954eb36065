"""Which control tasks a run was trained on, and where their demonstrations are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mugato.agent import Agent
from mugato.data.config import DatasetConfig
from mugato.data.registry import named_like
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS
from mugato.tasks.task import Task
from mugato.training.run_info import RunInfo


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
    datasets = RunInfo.read(run).datasets
    if datasets is None:
        datasets = tuple(DatasetConfig(name=name) for name in agent.tasks)
    demonstrations = {d.name: d.demonstrations for d in datasets if d.demonstrations is not None}
    tasks = tuple(d.name for d in datasets if d.name in TASKS or d.name in demonstrations)
    return RunContents(
        tasks=tasks,
        sources=tuple(d.name for d in datasets if d.name not in tasks),
        demonstrations=demonstrations,
    )


def chosen(contents: RunContents, names: Sequence[str] | None) -> RunContents:
    """All that the run learned, or what was asked for by name; sources need no options.

    Raises:
        ValueError: for a name that the run was not trained on.
    """
    if names is None:
        return contents
    known = (*contents.tasks, *contents.sources)
    found = {name: named_like(name, known) for name in names}
    if unknown := [name for name, like in found.items() if like is None]:
        raise ValueError(f"the run has no task {unknown}, only {list(known)}")
    wanted = set(found.values())
    return replace(
        contents,
        tasks=tuple(name for name in contents.tasks if name in wanted),
        sources=tuple(name for name in contents.sources if name in wanted),
    )


def find_task(name: str) -> Task:
    """One of our tasks, or a Gymnasium environment under the name that the agent knows it by.

    Raises:
        ValueError: neither is there.
    """
    return TASKS[name] if name in TASKS else replace(gymnasium_task(name), name=name)
