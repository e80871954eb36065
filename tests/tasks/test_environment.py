"""What users' environments do wrong is told as theirs, and ends nobody's command."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mugato.tasks.conform import NotInSpaceError
from mugato.tasks.environment import opened
from mugato.tasks.rollout import run_episode


class Odd(gymnasium.Env):
    """Three steps; `fault` happens in the second."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, fault: str = "") -> None:
        self.fault, self.steps = fault, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        self.steps = 0
        seen = np.zeros(2, np.float32)
        return seen if self.fault == "reset" else (seen, {})

    def step(self, action: int) -> tuple:
        self.steps += 1
        fault = self.fault if self.steps == 2 else ""
        if fault == "exit":
            sys.exit(0)
        rewards = {
            "array": np.array([0.5]), "arrays": np.ones(2), "none": None, "text": "much",
            "nan": float("nan"),
        }  # fmt: skip
        reward = rewards.get(fault, 0.5)
        if fault == "four":
            return np.zeros(2, np.float32), reward, False, {}
        return np.zeros(2, np.float32), reward, self.steps == 3, False, None

    def close(self) -> None:
        if self.fault == "close":
            raise RuntimeError("closed already")


def play(fault: str, policy=lambda observation: 1):
    with opened(lambda: Odd(fault)) as env:
        return run_episode(env, lambda env: policy, seed=0, max_episode_steps=9)


@pytest.mark.parametrize("fault", ["", "array", "close"])
def test_a_reward_of_one_number_and_a_failing_close_lose_nothing(fault):
    assert play(fault).rewards.tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("arrays", r"the reward at timestep 1 is array\(\[1., 1.\]\), not a number"),
        ("none", "the reward at timestep 1 is None, not a number"),
        ("text", "the reward at timestep 1 is 'much', not a number"),
        ("nan", "the reward at timestep 1 is nan"),
        ("four", r"step\(\) returned 4 values at timestep 1, not \(observation, reward, term"),
        ("reset", r"reset\(\) returned ndarray, not \(observation, info\)"),
    ],
)
def test_what_is_no_answer_is_told_with_its_timestep(fault, message):
    with pytest.raises(NotInSpaceError, match=message):
        play(fault)


def test_nobody_ends_the_program():
    with pytest.raises(RuntimeError, match=r"the environment called sys.exit\(0\)"):
        play("exit")
    with pytest.raises(RuntimeError, match=r"the policy called sys.exit\(3\)"):
        play("", policy=lambda observation: sys.exit(3))
