"""Experts for Atari games: follow the ball, and try out in a copy of the game where to meet it.

A rule reads ball and paddle from the console's memory and moves the paddle to the ball's place plus
an *aim*: where on the paddle the ball is met decides where it goes. Every few actions each aim is
played for a while in the emulator, whose state is then restored, and the best one is kept. So the
expert also recovers from actions that were not its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import UInt8

from mugato.tasks.task import ActionFunction

Memory = UInt8[np.ndarray, "128"]

ACTIONS_PER_PLAN = 20
REACHED = 3  # a paddle within so many pixels of its aim stays where it is

# The games' own numbers of actions.
NOOP, FIRE, RIGHT, LEFT = range(4)
UP, DOWN = RIGHT, LEFT


@dataclass(frozen=True, kw_only=True)
class Play:
    """How a game is played.

    Attributes:
        rule: (memory, aim) -> action.
        aims: pixels, the preferred one first.
        horizon: actions to try an aim for.
        one_point_decides: a point ends the trial and, if won, the search; the ball is served anew.
    """

    rule: Callable[[Memory, int], int]
    aims: tuple[int, ...]
    horizon: int
    one_point_decides: bool = False


def look_ahead(play: Play, env: gymnasium.Env) -> ActionFunction:
    """Make the expert of a freshly reset game."""
    atari: Any = env.unwrapped
    waited, aim = ACTIONS_PER_PLAN, play.aims[0]

    def act(observation: UInt8[np.ndarray, "height width 3"]) -> int:
        nonlocal waited, aim
        if waited == ACTIONS_PER_PLAN:
            waited, aim = 0, _best_aim(atari, play)
        waited += 1
        return play.rule(atari.ale.getRAM(), aim)

    return act


def _best_aim(atari: Any, play: Play) -> int:
    best, best_value = play.aims[0], (-np.inf, -np.inf, -np.inf)
    for aim in play.aims:
        value = _value(atari, play, aim)
        if value > best_value:
            best, best_value = aim, value
        if play.one_point_decides and value[1] > 0:
            break
    return best


def _value(atari: Any, play: Play, aim: int) -> tuple[float, float, float]:
    """Lives and points within the horizon, the former first; if any are lost, better late."""
    ale, actions = atari.ale, atari._action_set
    before, lives, points, taken = ale.cloneState(), ale.lives(), 0.0, 0
    while taken < play.horizon and ale.lives() == lives and not ale.game_over():
        action = actions[play.rule(ale.getRAM(), aim)]
        points += sum(ale.act(action) for _ in range(atari._frameskip))
        taken += 1
        if play.one_point_decides and points:
            break
    lost = lives - ale.lives()
    ale.restoreState(before)
    return -float(lost), points, float(taken)


def _pong(memory: Memory, aim: int) -> int:
    ball, paddle = int(memory[54]), int(memory[51])
    distance = ball + aim - (paddle + 4)
    return NOOP if abs(distance) <= REACHED else DOWN if distance > 0 else UP


def _breakout(memory: Memory, aim: int) -> int:
    ball, paddle, no_ball = int(memory[99]), int(memory[72]), memory[101] == 0
    if no_ball:
        return FIRE
    distance = ball + aim - (paddle + 8)
    return NOOP if abs(distance) <= REACHED else RIGHT if distance > 0 else LEFT


PONG = Play(rule=_pong, aims=(0, -3, 3, -6, 6, -9, 9, -12, 12), horizon=80, one_point_decides=True)
BREAKOUT = Play(rule=_breakout, aims=(0, -4, 4, -8, 8, -2, 2), horizon=60)
