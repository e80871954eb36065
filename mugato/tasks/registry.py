"""Every task by name: what the domain files, and the user's plugins, list in their `TASKS`."""

from types import ModuleType

from mugato.system.errors import did_you_mean
from mugato.system.plugins import plugins
from mugato.tasks.domains import (
    atari,
    babyai,
    box2d,
    classic_control,
    dm_control,
    fetch,
    mazes,
    metaworld,
    minigrid,
    mujoco,
    panda,
    pointmaze,
    sokoban,
    textworld,
    toy_text,
    vizdoom,
)
from mugato.tasks.task import Task

# The files that list the tasks, one line each. A file has `TASKS`, and in `PACKAGES` the packages
# besides Gymnasium that its environments come from, as pip names them.
DOMAINS = (
    babyai,
    minigrid,
    pointmaze,
    classic_control,
    toy_text,
    box2d,
    mujoco,
    metaworld,
    fetch,
    panda,
    atari,
    sokoban,
    mazes,
    dm_control,
    vizdoom,
    textworld,
)

TASKS: dict[str, Task] = {task.name: task for domain in DOMAINS for task in domain.TASKS}
PACKAGES: dict[str, tuple[str, ...]] = {
    domain.__name__.rpartition(".")[2]: domain.PACKAGES for domain in DOMAINS
}


def get_task(name: str) -> Task:
    """Look a task up.

    Raises:
        ValueError: for an unknown name, with the one that was meant.
    """
    if name in TASKS:
        return TASKS[name]
    hint = did_you_mean(name, TASKS) or "; `mugato record list` shows them all"
    raise ValueError(f"no task {name!r}{hint}{plugins().hint()}")


def _take(plugin: ModuleType) -> None:
    """Add a plugin's tasks, all or none."""
    added: dict[str, Task] = {}
    for task in getattr(plugin, "TASKS", ()):
        if not isinstance(task, Task):
            raise ValueError(f"TASKS holds a {type(task).__name__}, not a Task")
        if task.name in {**TASKS, **added}:
            raise ValueError(f"there is a task {task.name!r} already")
        added[task.name] = task
    TASKS.update(added)
    for task in added.values():
        PACKAGES.setdefault(task.domain, ())


plugins().offer(_take)
