"""`mugato record`: expert demonstrations as Minari data sets."""

from typing import Annotated, Any

import tyro

from mugato import display
from mugato.presets import preset as preset_of


def record(
    task: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    preset: str | None = None,
    env: str | None = None,
    expert: str | None = None,
    episodes: int | None = None,
    dataset: str | None = None,
    workers: int = 2,
    first_seed: int = 0,
    action_noise: float | None = None,
    keep_failures: bool = False,
    overwrite: bool = False,
) -> None:
    """Record expert demonstrations as Minari data sets.

    Examples: `mugato record babyai-go-to-local`, `mugato record --preset demo`,
    `mugato record --env CartPole-v1 --expert my_module:policy --episodes 100 --dataset my-data`.

    Args:
        task: tasks to record, by name; `mugato record list` shows them all.
        preset: record every task of this preset that was not recorded yet.
        env: any registered Gymnasium environment instead of a task.
        expert: with --env: "package.module:function", from observation to action.
        episodes: demonstrations per task; the task's own number if not given.
        dataset: Minari id to write to; the task's own if not given.
        workers: processes.
        first_seed: first episode seed. Keep below 1,000,000: tuning and evaluation start there.
        action_noise: share of executed actions that stray from the expert's, which stay recorded.
        keep_failures: keep episodes in which the expert failed.
        overwrite: replace a data set that exists.
    """
    from mugato.tasks.gymnasium_task import gymnasium_task
    from mugato.tasks.registry import TASKS, get_task

    if task == ("list",):
        display.tasks(TASKS.values())
        return
    if (env is not None) + (preset is not None) + bool(task) != 1:
        raise ValueError("name either tasks, or --preset, or --env")
    options: dict[str, Any] = {
        "episodes": episodes, "dataset_id": dataset, "workers": workers, "first_seed": first_seed,
        "action_noise": action_noise, "keep_failures": keep_failures, "overwrite": overwrite,
    }  # fmt: skip
    if env is not None:
        if expert is None or dataset is None:
            raise ValueError("--env needs --expert package.module:function and --dataset NAME")
        display.record([gymnasium_task(env, expert=expert)], options)
    elif preset is not None:
        display.record(unrecorded(preset), options)
    else:
        display.record([get_task(name) for name in task], options)


def unrecorded(name: str) -> list[Any]:
    """The preset's tasks whose own data set is not there yet."""
    from mugato.data.minari_source import dataset_folder
    from mugato.tasks.registry import get_task

    config = preset_of(name)
    tasks = [get_task(task) for task in config.tasks if task not in config.demonstrations]
    return [task for task in tasks if not dataset_folder(task.dataset_id).exists()]
