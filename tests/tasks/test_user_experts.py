"""Experts as users have them: functions, classes with memory, models with `predict`."""

import sys
from pathlib import Path

import gymnasium
import pytest

from mugato.tasks.experts.users import check_expert
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.rollout import run_episode

MINE = """
import gymnasium
import numpy as np


class Fresh:
    def __init__(self):
        self.seen = 0

    def __call__(self, observation):
        self.seen += 1
        return self.seen % 2


class Reused(Fresh):
    made = 0

    def __init__(self):
        super().__init__()
        Reused.made += 1

    def reset(self):
        self.seen = 0


class Recurrent:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        state = 0 if state is None else state + 1
        return np.array(state % 2), state


class Stateless:
    def predict(self, observation):
        return 1


recurrent, stateless, broken = Recurrent(), Stateless(), object()


class Longer(gymnasium.Wrapper):
    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, 10 * reward, terminated, truncated, info


def no_wrapper(env):
    return 3
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mine", None)


def actions(expert: str, seed: int = 0) -> list[int]:
    task = gymnasium_task("CartPole-v1", expert=expert, max_episode_steps=4)
    assert task.make_expert is not None
    rollout = run_episode(task.make_env(), task.make_expert, seed=seed, max_episode_steps=4)
    return [int(action) for action in rollout.actions]


@pytest.mark.parametrize(
    ("expert", "expected"),
    [
        ("mine:Fresh", [1, 0, 1, 0]),
        ("mine:Reused", [1, 0, 1, 0]),
        ("mine:recurrent", [0, 1, 0, 1]),
        ("mine:Recurrent", [0, 1, 0, 1]),
        ("mine:stateless", [1, 1, 1, 1]),
    ],
)
def test_experts_with_memory_begin_anew_in_each_episode(expert, expected):
    assert actions(expert) == actions(expert, seed=1) == expected


def test_a_class_with_reset_is_made_once():
    import mine  # pyright: ignore[reportMissingImports]

    actions("mine:Reused")
    actions("mine:Reused", seed=1)
    assert mine.Reused.made == 1


def test_a_saved_sb3_model_answers_as_it_does_itself(tmp_path):
    sb3 = pytest.importorskip("stable_baselines3")
    model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    env = gymnasium.make("CartPole-v1")
    observation, expected = env.reset(seed=0)[0], []
    for _ in range(4):
        expected.append(int(model.predict(observation, deterministic=True)[0]))
        observation = env.step(expected[-1])[0]
    assert actions("sb3:ppo:model.zip") == expected


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        ("sb3:ppo", "written 'sb3:ALGORITHM:model.zip' with one of a2c, ddpg"),
        ("sb3:pop:model.zip", "written 'sb3:ALGORITHM:model.zip'"),
        ("sb3:ppo:nowhere.zip", "there is no file nowhere.zip"),
        ("sb3:ppo:mine.py", "mine.py is no model of PPO"),
        ("mine:broken", "is a object, not a function"),
    ],
)
def test_experts_that_are_none_are_named(expert, message):
    if expert.endswith("mine.py"):
        pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match=message):
        check_expert(expert)


def test_constructor_arguments_and_wrappers_make_the_environment():
    task = gymnasium_task(
        "FrozenLake-v1", env_kwargs={"map_name": "8x8"}, wrappers=("mine:Longer",)
    )
    env = task.make_env()
    assert env.observation_space == gymnasium.spaces.Discrete(64)
    assert type(env).__name__ == "Longer"
    pendulum = gymnasium_task("Pendulum-v1", env_kwargs={"g": 1.0}).make_env()
    assert pendulum.unwrapped.g == 1.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("env_kwargs", "wrappers", "message"),
    [
        ({"sise": 6}, (), r"CartPole-v1 cannot be made with \(sise=6\): .*sise"),
        ({}, ("mine:Nothing",), "wrapper 'mine:Nothing': 'mine' has no 'Nothing'"),
        ({}, ("Longer",), "a wrapper is written 'package.module:name', not 'Longer'"),
        ({}, ("mine:no_wrapper",), "the wrapper 'mine:no_wrapper' gave a int, no environment"),
    ],
)
def test_what_an_environment_cannot_be_made_with_is_named(env_kwargs, wrappers, message):
    with pytest.raises(ValueError, match=message):
        gymnasium_task("CartPole-v1", env_kwargs=env_kwargs, wrappers=wrappers)
