"""Atari games in the Arcade Learning Environment (Bellemare et al. 2013; §3.1, App. F).

Frames of 210x160 are shrunk to 80x64 by averaging areas: 20 patches, as in the paper. An action is
repeated for four frames and never by chance for more. Without chance a game would be always the
same one, so that an episode starts with a few random actions, which its seed draws.
Expert: `atari_experts.py`.
"""

import weakref
from functools import partial

import gymnasium

from mugato.system.optional import require
from mugato.tasks.experts.atari import BREAKOUT, PONG, Play, look_ahead
from mugato.tasks.task import Task
from mugato.tasks.wrappers import RandomStart, SmallPicture

FRAME_SKIP = 4


def atari(
    name: str,
    game: str,
    play: Play,
    *,
    random_starts: int,
    max_episode_steps: int,
    failure_return: float,
) -> Task:
    return Task(
        name=name,
        domain="atari",
        make_env=partial(_make_env, game, random_starts),
        make_expert=partial(look_ahead, play),
        max_episode_steps=max_episode_steps,
        failure_return=failure_return,
        episodes=50,
        action_noise=0.02,
        jat_name=name,
    )


def _make_env(game: str, random_starts: int, *, render_mode: str | None = None) -> gymnasium.Env:
    ale = require("ale_py", extra="atari")
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # no banner
    gymnasium.register_envs(ale)
    env = gymnasium.make(
        f"ALE/{game}-v5",
        frameskip=FRAME_SKIP,
        repeat_action_probability=0.0,
        render_mode=render_mode,
        disable_env_checker=True,
    )
    # An emulator that is still held when Python ends complains about it.
    weakref.finalize(env.unwrapped, vars(env.unwrapped).pop, "ale", None)
    return SmallPicture(RandomStart(env, most=random_starts), height=80, width=64)


TASKS = (
    atari(
        "atari-pong",
        "Pong",
        PONG,
        random_starts=30,
        max_episode_steps=5000,
        failure_return=0.0,
    ),
    atari(
        "atari-breakout",
        "Breakout",
        BREAKOUT,
        random_starts=16,  # too few to lose the first ball
        max_episode_steps=2000,  # about what the expert needs for the first of two walls
        failure_return=100.0,
    ),
)
PACKAGES = ("ale-py",)
