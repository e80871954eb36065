"""Which control tasks a run was trained on, and where their demonstrations are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mugato.agent import Agent
from mugato.data.registry import named_like
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
        tasks = tuple(name for name in agent.tasks if name in TASKS)
        others = tuple(name for name in agent.tasks if name not in TASKS)
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
