"""Every task by name, one line each; and any other Gymnasium environment as a task."""

import difflib

from mugato.tasks.babyai import babyai
from mugato.tasks.box2d import lunar_lander_continuous
from mugato.tasks.classic_control import cartpole
from mugato.tasks.metaworld import metaworld
from mugato.tasks.minigrid import four_rooms
from mugato.tasks.pointmaze import pointmaze
from mugato.tasks.task import Task

_TASKS = (
    babyai("babyai-go-to-red-ball-no-dists", "BabyAI-GoToRedBallNoDists-v0", max_episode_steps=64),
    babyai("babyai-go-to-obj", "BabyAI-GoToObj-v0", max_episode_steps=64),
    babyai("babyai-go-to-local", "BabyAI-GoToLocal-v0", max_episode_steps=64, episodes=8000),
    babyai("babyai-open-door", "BabyAI-OpenDoor-v0", max_episode_steps=441, episodes=3000),
    four_rooms("minigrid-four-rooms"),
    pointmaze("pointmaze-umaze", "PointMaze_UMaze-v3", max_episode_steps=300),
    cartpole("cartpole"),
    lunar_lander_continuous("lunar-lander-continuous"),
    metaworld("metaworld-button-press-topdown", "button-press-topdown-v3"),
    metaworld("metaworld-coffee-button", "coffee-button-v3"),
    metaworld("metaworld-drawer-close", "drawer-close-v3"),
    metaworld("metaworld-faucet-open", "faucet-open-v3"),
    metaworld("metaworld-handle-press", "handle-press-v3"),
    metaworld("metaworld-window-open", "window-open-v3"),
)

TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


def get_task(name: str) -> Task:
    """Look a task up.

    Raises:
        ValueError: for an unknown name, listing the known ones, those most like it first.
    """
    if name in TASKS:
        return TASKS[name]
    close = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.4)
    names = [*close, *(known for known in TASKS if known not in close)]
    raise ValueError(f"no task {name!r}; known are {', '.join(names)}")
