"""VizDoom: first-person shooting with one button at a time (Kempka et al. 2016).

The picture is rendered at 160x120 and shrunk to 80x60 by averaging areas; with it come ammunition
and health. An action lasts two tics. The two scenarios that always begin alike start with a few
random actions, which the seed draws.
Expert: turns (in "basic" it steps) until the enemy closest to the crosshair is in it, then shoots.
It reads the renderer's labels, which say what each thing in the picture is and how wide it is.
"""

import weakref
from contextlib import chdir, nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from mugato.system.optional import require
from mugato.tasks.task import ActionFunction, Task
from mugato.tasks.wrappers import RandomStart, SmallPicture

FRAME_SKIP = 2  # with four, a turn passes over distant enemies
WIDTH_PX = 160
# Other labels are the player's own weapon, shots, smoke and blood.
ENEMIES = ("Cacodemon", "MarineChainsawVzd", "Demon", "DoomImp")

WAIT, SHOOT, RIGHT, LEFT = range(4)


def vizdoom(
    name: str,
    env_id: str,
    *,
    max_episode_steps: int,
    failure_return: float,
    search: int,
    random_starts: int = 0,
) -> Task:
    """Make the task of a scenario.

    Args:
        search: what the expert does while it sees no enemy.
        random_starts: at most so many random actions begin an episode.
    """
    return Task(
        name=name,
        domain="vizdoom",
        make_env=partial(_make_env, env_id, random_starts),
        make_expert=partial(_make_expert, search),
        max_episode_steps=max_episode_steps,
        failure_return=failure_return,
        episodes=200,
        action_noise=0.05,
    )


def _make_env(env_id: str, random_starts: int, *, render_mode: str | None = None) -> gymnasium.Env:
    require("vizdoom.gymnasium_wrapper", extra="vizdoom")
    env = gymnasium.make(
        env_id,
        frame_skip=FRAME_SKIP,
        screen_resolution="RES_160X120",
        render_mode=render_mode,
        disable_env_checker=True,
    )
    game: Any = env.unwrapped
    game.game.set_labels_buffer_enabled(True)  # for the expert; not part of the observation
    env = StartedAside(env)
    # The game is a process of its own, which would outlive a worker that ends without closing it.
    weakref.finalize(game, game.game.close)
    if random_starts:
        env = RandomStart(env, most=random_starts)
    return SmallPicture(env, height=60, width=80, key="screen")


class StartedAside(gymnasium.Wrapper, RecordConstructorArgs):
    """Start the game in a temporary folder: where it starts it leaves its settings behind.

    They are `_vizdoom.ini` and a folder `_vizdoom`; no option of the game's moves them both.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self._folder = TemporaryDirectory(prefix="vizdoom-")
        weakref.finalize(self, self._folder.cleanup)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        game: Any = self.unwrapped
        with nullcontext() if game.game.is_running() else chdir(self._folder.name):
            return self.env.reset(seed=seed, options=options)


def _make_expert(search: int, env: gymnasium.Env) -> ActionFunction:
    game: Any = env.unwrapped

    def act(observation: dict[str, Any]) -> int:
        enemies = [label for label in game.state.labels if label.object_name in ENEMIES]
        if not enemies:
            return search
        aside = {label.object_id: label.x + (label.width - WIDTH_PX) / 2 for label in enemies}
        target = min(enemies, key=lambda label: abs(aside[label.object_id]))
        offset = aside[target.object_id]
        if abs(offset) <= max(target.width / 2, 1):
            return SHOOT
        return LEFT if offset < 0 else RIGHT

    return act


TASKS = (
    vizdoom(
        "vizdoom-basic", "VizdoomBasic-v1", max_episode_steps=150, failure_return=0.0, search=WAIT
    ),
    vizdoom(
        "vizdoom-defend-the-center",
        "VizdoomDefendCenter-v1",
        max_episode_steps=1050,
        failure_return=5.0,
        search=LEFT,
        random_starts=20,
    ),
    vizdoom(
        "vizdoom-defend-the-line",
        "VizdoomDefendLine-v1",
        max_episode_steps=1050,
        failure_return=10.0,
        search=WAIT,
        random_starts=20,
    ),
)
PACKAGES = ("vizdoom",)
