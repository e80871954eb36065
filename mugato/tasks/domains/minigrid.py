"""MiniGrid, seen through the agent's own eyes, and the bot that solves grid worlds.

The 7x7 cells before the agent are rendered as a picture; with them come the direction and the
mission text. The expert is BabyAI's bot with the mission in its own words. It explores as the agent
must: the shortest path would follow a goal that the picture does not show, and no policy could
learn it. The return falls with the time used, from 1.

Missing are levels that the bot cannot solve (keys hidden in boxes, small rooms full of moving
obstacles), those without a mission (Playground) and those whose files are not in the package (WFC).
"""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from mugato.tasks.experts import missions
from mugato.tasks.experts.missions import Mission
from mugato.tasks.task import ActionFunction, Task, require
from mugato.tasks.wrappers import LastAction, QuietReset, SupportedSpaces

TILE_PX = 8
MAX_PLANS_PER_STEP = 200  # the deepest plan needs about 30; a bot that loops makes them for ever


class PartialView(gymnasium.Wrapper, RecordConstructorArgs):
    """Replace the symbolic image by the picture of the same cells (56x56 RGB for 7x7 cells).

    The world is told to observe so: what the agent sees is worked out once a step, not twice.
    """

    def __init__(self, env: gymnasium.Env, tile_px: int = TILE_PX) -> None:
        RecordConstructorArgs.__init__(self, tile_px=tile_px)
        gymnasium.Wrapper.__init__(self, env)
        self._tile_px = tile_px
        symbols: Any = env.observation_space
        height, width, _ = symbols["image"].shape
        picture = spaces.Box(0, 255, (height * tile_px, width * tile_px, 3), np.uint8)
        self.observation_space = spaces.Dict({**symbols.spaces, "image": picture})
        world: Any = self.unwrapped
        world.gen_obs = self._observe

    def _observe(self) -> dict[str, Any]:
        world: Any = self.unwrapped
        picture = world.get_frame(tile_size=self._tile_px, agent_pov=True)
        return {"image": picture, "direction": world.agent_dir, "mission": world.mission}


def minigrid(
    name: str, level: str, max_episode_steps: int, mission: Mission, *, episodes: int = 400
) -> Task:
    """Make the task of a MiniGrid level; the limit of its time is its own."""
    return Task(
        name=f"minigrid-{name}",
        domain="minigrid",
        make_env=partial(make_grid_env, f"MiniGrid-{level}"),
        make_expert=partial(_make_expert, mission),
        max_episode_steps=max_episode_steps,
        failure_return=0.0,
        episodes=episodes,
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


# Here the place itself must be stepped on; the bot is done when it faces it.
_STEP_ON = (missions.go_to_goal, missions.go_to_the_same)


def _make_expert(mission: Mission, env: gymnasium.Env) -> ActionFunction:
    """Give the bot the mission, which levels that are not BabyAI's state in text alone."""
    world: Any = env.unwrapped
    for number, thing in enumerate(world.grid.grid):
        if thing is not None:  # some levels do not tell their doors where they are
            thing.cur_pos = (number % world.grid.width, number // world.grid.width)
    if not hasattr(world, "room_from_pos"):  # asked for, but not used where "left" is not a word
        world.room_from_pos = _no_room
    world.instrs = mission(world)
    act = make_bot(env, done_means_forward=mission in _STEP_ON)
    wait = int(env.get_wrapper_attr("actions").left)  # where nothing can be picked up: turn

    def act_within_space(observation: dict[str, Any]) -> int:
        action = act(observation)
        return action if action in env.action_space else wait

    return act_within_space


def _no_room(*place: Any) -> None:
    return None


PACKAGES = ("minigrid",)
TASKS = (
    minigrid("empty-5x5", "Empty-5x5-v0", 100, missions.go_to_goal),
    minigrid("empty-6x6", "Empty-6x6-v0", 144, missions.go_to_goal),
    minigrid("empty-8x8", "Empty-8x8-v0", 256, missions.go_to_goal),
    minigrid("empty-16x16", "Empty-16x16-v0", 1024, missions.go_to_goal),
    minigrid("empty-random-5x5", "Empty-Random-5x5-v0", 100, missions.go_to_goal),
    minigrid("empty-random-6x6", "Empty-Random-6x6-v0", 144, missions.go_to_goal),
    minigrid("four-rooms", "FourRooms-v0", 100, missions.go_to_goal, episodes=1200),
    minigrid("door-key-5x5", "DoorKey-5x5-v0", 250, missions.go_to_goal),
    minigrid("door-key-6x6", "DoorKey-6x6-v0", 360, missions.go_to_goal),
    minigrid("door-key-8x8", "DoorKey-8x8-v0", 640, missions.go_to_goal),
    minigrid("door-key-16x16", "DoorKey-16x16-v0", 2560, missions.go_to_goal),
    minigrid("simple-crossing-s9n1", "SimpleCrossingS9N1-v0", 324, missions.go_to_goal),
    minigrid("simple-crossing-s9n2", "SimpleCrossingS9N2-v0", 324, missions.go_to_goal),
    minigrid("simple-crossing-s9n3", "SimpleCrossingS9N3-v0", 324, missions.go_to_goal),
    minigrid("simple-crossing-s11n5", "SimpleCrossingS11N5-v0", 484, missions.go_to_goal),
    minigrid("lava-crossing-s9n1", "LavaCrossingS9N1-v0", 324, missions.go_to_goal),
    minigrid("lava-crossing-s9n2", "LavaCrossingS9N2-v0", 324, missions.go_to_goal),
    minigrid("lava-crossing-s9n3", "LavaCrossingS9N3-v0", 324, missions.go_to_goal),
    minigrid("lava-crossing-s11n5", "LavaCrossingS11N5-v0", 484, missions.go_to_goal),
    minigrid("lava-gap-s5", "LavaGapS5-v0", 100, missions.go_to_goal),
    minigrid("lava-gap-s6", "LavaGapS6-v0", 144, missions.go_to_goal),
    minigrid("lava-gap-s7", "LavaGapS7-v0", 196, missions.go_to_goal),
    minigrid("dist-shift-1", "DistShift1-v0", 252, missions.go_to_goal),
    minigrid("dist-shift-2", "DistShift2-v0", 252, missions.go_to_goal),
    minigrid("multi-room-n2-s4", "MultiRoom-N2-S4-v0", 40, missions.go_to_goal),
    minigrid("multi-room-n4-s5", "MultiRoom-N4-S5-v1", 80, missions.go_to_goal),
    minigrid("multi-room-n6", "MultiRoom-N6-v0", 120, missions.go_to_goal),
    minigrid("locked-room", "LockedRoom-v0", 190, missions.go_to_goal),
    minigrid("dynamic-obstacles-8x8", "Dynamic-Obstacles-8x8-v0", 256, missions.go_to_goal),
    minigrid("dynamic-obstacles-16x16", "Dynamic-Obstacles-16x16-v0", 1024, missions.go_to_goal),
    minigrid("memory-s7", "MemoryS7-v0", 245, missions.go_to_the_same),
    minigrid("memory-s9", "MemoryS9-v0", 405, missions.go_to_the_same),
    minigrid("memory-s11", "MemoryS11-v0", 605, missions.go_to_the_same),
    minigrid("memory-s13", "MemoryS13-v0", 845, missions.go_to_the_same),
    minigrid("memory-s13-random", "MemoryS13Random-v0", 845, missions.go_to_the_same),
    minigrid("memory-s17-random", "MemoryS17Random-v0", 1445, missions.go_to_the_same),
    minigrid("fetch-5x5-n2", "Fetch-5x5-N2-v0", 125, missions.fetch),
    minigrid("fetch-6x6-n2", "Fetch-6x6-N2-v0", 180, missions.fetch),
    minigrid("fetch-8x8-n3", "Fetch-8x8-N3-v0", 320, missions.fetch),
    minigrid("go-to-door-5x5", "GoToDoor-5x5-v0", 100, missions.go_to_door),
    minigrid("go-to-door-6x6", "GoToDoor-6x6-v0", 144, missions.go_to_door),
    minigrid("go-to-door-8x8", "GoToDoor-8x8-v0", 256, missions.go_to_door),
    minigrid("go-to-object-6x6-n2", "GoToObject-6x6-N2-v0", 180, missions.go_to_object),
    minigrid("go-to-object-8x8-n2", "GoToObject-8x8-N2-v0", 320, missions.go_to_object),
    minigrid("put-near-6x6-n2", "PutNear-6x6-N2-v0", 30, missions.put_near),
    minigrid("put-near-8x8-n3", "PutNear-8x8-N3-v0", 40, missions.put_near),
    minigrid("red-blue-doors-6x6", "RedBlueDoors-6x6-v0", 720, missions.open_red_then_blue),
    minigrid("red-blue-doors-8x8", "RedBlueDoors-8x8-v0", 1280, missions.open_red_then_blue),
    minigrid("unlock", "Unlock-v0", 288, missions.open_the_door),
    minigrid("unlock-pickup", "UnlockPickup-v0", 288, missions.pick_up),
    minigrid("blocked-unlock-pickup", "BlockedUnlockPickup-v0", 576, missions.pick_up),
    minigrid("key-corridor-s3r1", "KeyCorridorS3R1-v0", 270, missions.pick_up),
    minigrid("key-corridor-s3r2", "KeyCorridorS3R2-v0", 270, missions.pick_up),
    minigrid("key-corridor-s3r3", "KeyCorridorS3R3-v0", 270, missions.pick_up),
    minigrid("key-corridor-s4r3", "KeyCorridorS4R3-v0", 480, missions.pick_up),
    minigrid("key-corridor-s5r3", "KeyCorridorS5R3-v0", 750, missions.pick_up),
    minigrid("key-corridor-s6r3", "KeyCorridorS6R3-v0", 1080, missions.pick_up),
    minigrid("obstructed-maze-1dl", "ObstructedMaze-1Dl-v0", 288, missions.pick_up),
    minigrid("obstructed-maze-2dl", "ObstructedMaze-2Dl-v0", 576, missions.pick_up),
)
