"""Toy text: small worlds whose state is one number, and Blackjack (Gymnasium).

Expert: the best action in every state, by value iteration over the world's own table of
probabilities; in Blackjack the published best strategy (Sutton & Barto 2018, fig. 5.2).
"""

from functools import lru_cache, partial

import gymnasium
import numpy as np
from jaxtyping import Int

from mugato.tasks.task import ActionFunction, Task

DISCOUNT = 0.999  # so close to 1 that a detour around the cliff or the ice is worth its time
TOLERANCE = 1e-9
STAND, HIT = 0, 1


def table_world(
    name: str, env_id: str, *, failure_return: float, action_noise: float = 0.0
) -> Task:
    """Make the task of a world with a table of (probability, next state, reward, ended).

    Where the ground is slippery, the executed moves stray without further noise.
    """
    return Task(
        name=name,
        domain="toy_text",
        make_env=partial(_make_env, env_id),
        make_expert=partial(_make_planner, env_id),
        max_episode_steps=200,
        failure_return=failure_return,
        action_noise=action_noise,
    )


def blackjack(name: str = "blackjack") -> Task:
    """Make the task of one hand, which returns 1, 0 or -1; even the best player mostly loses."""
    return Task(
        name=name,
        domain="toy_text",
        make_env=partial(_make_env, "Blackjack-v1"),
        make_expert=_make_card_player,
        max_episode_steps=20,
        episodes=2000,
    )


@lru_cache
def best_actions(env_id: str) -> Int[np.ndarray, " states"]:
    """Iterate values until they stand, and take the best action in each state."""
    table = gymnasium.make(env_id).get_wrapper_attr("P")
    shape = (len(table), len(table[0]))
    chance, reward = np.zeros((*shape, len(table))), np.zeros(shape)
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, next_state, gain, ended in outcomes:
                chance[state, action, next_state] += probability * (not ended)
                reward[state, action] += probability * gain
    values = np.zeros(len(table))
    while True:
        action_values = reward + DISCOUNT * chance @ values
        change = np.abs(action_values.max(axis=1) - values).max()
        values = action_values.max(axis=1)
        if change < TOLERANCE:
            return action_values.argmax(axis=1)


def _make_env(env_id: str, *, render_mode: str | None = None) -> gymnasium.Env:
    return gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True)


def _make_planner(env_id: str, env: gymnasium.Env) -> ActionFunction:
    actions = best_actions(env_id)

    def act(observation: int) -> int:
        return int(actions[observation])

    return act


def _make_card_player(env: gymnasium.Env) -> ActionFunction:
    def act(observation: tuple[int, int, int]) -> int:
        total, dealer, usable_ace = (int(number) for number in observation)  # an ace shows as 1
        if usable_ace:
            stand = total >= 19 or (total == 18 and dealer not in (9, 10))
        elif total == 12:
            stand = dealer in (4, 5, 6)
        else:
            stand = total >= 17 or (total >= 13 and 2 <= dealer <= 6)
        return STAND if stand else HIT

    return act


PACKAGES = ()
TASKS = (
    table_world("taxi", "Taxi-v4", failure_return=-200.0, action_noise=0.05),
    table_world("frozen-lake", "FrozenLake-v1", failure_return=0.0),
    table_world("frozen-lake-8x8", "FrozenLake8x8-v1", failure_return=0.0),
    table_world("cliff-walking", "CliffWalking-v1", failure_return=-200.0, action_noise=0.05),
    table_world("cliff-walking-slippery", "CliffWalkingSlippery-v1", failure_return=-200.0),
    blackjack("blackjack"),
)
