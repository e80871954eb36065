"""MiniGrid's FourRooms, seen through the agent's own eyes, and the bot that solves grid worlds.

The 7x7 cells before the agent are rendered as a picture; with them come the direction and the
mission text. The expert explores as the agent must: the shortest path would follow a goal that
the picture does not show, and no policy could learn it.
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from mugato.tasks.task import ActionFunction, Task, require
from mugato.tasks.wrappers import LastAction, QuietReset, SupportedSpaces

TILE_PX = 8
MAX_PLANS_PER_STEP = 200  # the deepest plan needs about 30; a bot that loops makes them for ever


class PartialView(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Replace the symbolic image by the picture of the same cells (56x56 RGB for 7x7 cells)."""

    def __init__(self, env: gymnasium.Env, tile_px: int = TILE_PX) -> None:
        RecordConstructorArgs.__init__(self, tile_px=tile_px)
        gymnasium.ObservationWrapper.__init__(self, env)
        self._tile_px = tile_px
        symbols: Any = env.observation_space
        height, width, _ = symbols["image"].shape
        picture = spaces.Box(0, 255, (height * tile_px, width * tile_px, 3), np.uint8)
        self.observation_space = spaces.Dict({**symbols.spaces, "image": picture})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        world: Any = self.unwrapped
        picture = world.get_frame(tile_size=self._tile_px, agent_pov=True)
        return {**observation, "image": picture}


def four_rooms(name: str = "minigrid-four-rooms") -> Task:
    """Find the green goal in one of four rooms; the return falls with the time used, from 1."""
    return Task(
        name=name,
        domain="minigrid",
        make_env=partial(make_grid_env, "MiniGrid-FourRooms-v0"),
        make_expert=_make_four_rooms_bot,
        max_episode_steps=100,
        failure_return=0.0,
        episodes=1200,
        action_noise=0.05,
    )


def make_grid_env(env_id: str, *, render_mode: str | None = None, **options: Any) -> gymnasium.Env:
    """Make a MiniGrid or BabyAI environment with picture, direction and mission text."""
    require("minigrid", extra="babyai")
    env = gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True, **options)
    return LastAction(QuietReset(SupportedSpaces(PartialView(env))))


def make_bot(env: gymnasium.Env, *, done_means_forward: bool = False) -> ActionFunction:
    """Start BabyAI's bot on the mission of a freshly reset environment.

    It is told the action that was executed, which may not be the one it advised.

    Raises:
        RuntimeError: from the returned function, when the bot plans without end.
    """
    BabyAIBot = require("minigrid.utils.baby_ai_bot", extra="babyai").BabyAIBot
    bot = BabyAIBot(env)
    bot.stack = _BoundedPlan(bot.stack)
    actions = env.get_wrapper_attr("actions")

    def act(observation: dict[str, Any]) -> int:
        bot.stack.budget = MAX_PLANS_PER_STEP
        action = bot.replan(env.get_wrapper_attr("last_action"))
        if done_means_forward and action == actions.done:
            action = actions.forward
        return int(action)

    return act


class _BoundedPlan(list):
    """The bot's stack of subgoals; on some missions the bot pushes and pops without end."""

    budget = MAX_PLANS_PER_STEP

    def append(self, subgoal: Any) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise RuntimeError("the bot plans without end")
        super().append(subgoal)


def _make_four_rooms_bot(env: gymnasium.Env) -> ActionFunction:
    """Give the bot the instruction that FourRooms, not being a BabyAI level, does not state."""
    verifier = require("minigrid.envs.babyai.core.verifier", extra="babyai")
    world: Any = env.unwrapped
    goal = verifier.ObjDesc(None)
    goal.type = "goal"  # the constructor only takes the types that BabyAI has words for
    places = [(i, j) for i in range(world.grid.width) for j in range(world.grid.height)]
    goal.obj_poss = [
        place for place in places if getattr(world.grid.get(*place), "type", "") == "goal"
    ]
    goal.obj_set = [world.grid.get(*place) for place in goal.obj_poss]
    world.instrs = verifier.GoToInstr(goal)
    # The bot is done when it faces the goal; FourRooms asks to step onto it.
    return make_bot(env, done_means_forward=True)


PACKAGES = ("minigrid",)
TASKS = (four_rooms("minigrid-four-rooms"),)
