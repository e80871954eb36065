"""`mugato record`: expert demonstrations as Minari data sets."""

from collections.abc import Sequence
from typing import Annotated

import tyro

from mugato.cli import display
from mugato.recording.recorder import RecordConfig
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS, get_task
from mugato.tasks.task import Task


def record(
    task: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    domain: str | None = None,
    preset: str | None = None,
    env: str | None = None,
    expert: str | None = None,
    config: Annotated[RecordConfig, tyro.conf.arg(name="")] = RecordConfig(workers=2),
) -> None:
    """Record expert demonstrations as Minari data sets; what was interrupted goes on.

    Examples: `mugato record babyai-go-to-local`, `mugato record --domain metaworld`,
    `mugato record --preset demo`,
    `mugato record --env CartPole-v1 --expert my_module:policy --episodes 100 --dataset my-data`.

    Args:
        task: tasks to record, by name; `mugato record list` shows them all.
        domain: record every task of this domain that has an expert and was not recorded yet.
        preset: record every task of this preset that was not recorded yet.
        env: any registered Gymnasium environment instead of a task.
        expert: with --env: "package.module:function", from observation to action.
        config: how to record.
    """
    if task == ("list",):
        display.tasks(TASKS.values())
        return
    if sum((env is not None, domain is not None, preset is not None, bool(task))) != 1:
        raise ValueError("name either tasks, or --domain, or --preset, or --env")
    if env is not None:
        if expert is None or config.dataset is None:
            raise ValueError("--env needs --expert package.module:function and --dataset NAME")
        tasks = [gymnasium_task(env, expert=expert)]
    elif domain is not None:
        tasks = unrecorded(domain_tasks(domain), overwrite=config.overwrite)
    elif preset is not None:
        tasks = unrecorded(preset_tasks(preset), overwrite=config.overwrite)
    else:
        tasks = [get_task(name) for name in task]
    if config.dataset is not None and len(tasks) != 1:
        raise ValueError(f"--dataset names one data set, but there are {len(tasks)} tasks")
    if not tasks:
        display.console.print("All of it is recorded; --overwrite begins anew")
    display.record(tasks, config)


def unrecorded(tasks: Sequence[Task], *, overwrite: bool = False) -> list[Task]:
    """Return the tasks whose own data set is not complete yet; all, if it may be overwritten."""
    from mugato.recording.store import is_recorded

    return [task for task in tasks if overwrite or not is_recorded(task.dataset_id)]


def preset_tasks(name: str) -> list[Task]:
    """Return the preset's tasks that learn from our own demonstrations."""
    from mugato.training.presets import preset as preset_of
    from mugato.training.setup import is_task

    datasets = preset_of(name).datasets
    return [get_task(d.name) for d in datasets if is_task(d) and d.demonstrations is None]


def domain_tasks(name: str) -> list[Task]:
    """Return the domain's tasks that have an expert.

    Raises:
        ValueError: for an unknown domain, listing the known ones, or one without experts.
    """
    domains = sorted({task.domain for task in TASKS.values()})
    if name not in domains:
        raise ValueError(f"no domain {name!r}; there are {', '.join(domains)}")
    tasks = [task for task in TASKS.values() if task.domain == name and task.make_expert]
    if not tasks:
        raise ValueError(f"no task of the domain {name!r} has an expert to record")
    return tasks
