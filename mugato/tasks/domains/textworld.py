"""TextWorld: small text adventures, text in and text out (Côté et al. 2018).

Every seed is a game of its own with three rooms, five things and a quest of four commands. Reward 1
for the quest done, which ends the episode.
Expert: the commands that win from where the game stands, which the maker of the game knows.
"""

from functools import partial

import gymnasium
from gymnasium.envs.registration import EnvSpec

from mugato.system.optional import require
from mugato.tasks.task import ActionFunction, Task


def textworld(name: str, *, num_rooms: int, num_objects: int, quest_length: int) -> Task:
    return Task(
        name=name,
        domain="textworld",
        make_env=partial(
            _make_env, num_rooms=num_rooms, num_objects=num_objects, quest_length=quest_length
        ),
        make_expert=_make_expert,
        max_episode_steps=20,
        failure_return=0.0,
        episodes=500,
    )


def _make_env(*, render_mode: str | None = None, **size: int) -> gymnasium.Env:
    require("textworld", extra="textworld")
    spec = EnvSpec(
        id="mugato/TextWorld-v0",
        entry_point="mugato.tasks.envs.textworld:TextWorld",
        kwargs=size,
    )
    return gymnasium.make(spec, render_mode=render_mode, disable_env_checker=True)


def _make_expert(env: gymnasium.Env) -> ActionFunction:
    def act(observation: dict[str, str]) -> str:
        commands = env.get_wrapper_attr("winning_commands")
        if not commands:
            raise RuntimeError("this game cannot be won any more")
        return commands[0]

    return act


TASKS = (textworld("textworld", num_rooms=3, num_objects=5, quest_length=4),)
PACKAGES = ("textworld",)
