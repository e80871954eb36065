"""What every task promises, checked for each one in the registry."""

import importlib.util
import pickle
import subprocess
import sys
from functools import cache

import gymnasium
import numpy as np
import pytest

from mugato.spec import spec_of
from mugato.tasks.registry import TASKS, get_task
from mugato.tasks.rollout import random_policy, run_episode
from mugato.tasks.task import TUNING_SEEDS, Task, require

SEED = TUNING_SEEDS.start
PACKAGES = {
    "babyai": "minigrid",
    "minigrid": "minigrid",
    "pointmaze": "gymnasium_robotics",
    "box2d": "Box2D",
    "metaworld": "metaworld",
}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    package = PACKAGES.get(request.param.domain, "gymnasium")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return request.param


@cache
def env_of(name: str) -> gymnasium.Env:
    return TASKS[name].make_env()


def play(task: Task, seed: int, **options):
    limit = task.max_episode_steps
    return run_episode(
        env_of(task.name), task.make_expert, seed=seed, max_episode_steps=limit, **options
    )


def test_spaces_are_supported(task: Task):
    env = env_of(task.name)
    spec = spec_of(env.observation_space, env.action_space)
    assert spec.observation_leaves
    assert spec.action_leaves


def test_expert_succeeds_with_and_without_noise(task: Task):
    for seed in (SEED, SEED + 1):
        assert task.succeeded(play(task, seed).episode_return)
    assert play(task, SEED, action_noise=task.action_noise).episode_return is not None


def test_an_episode_depends_on_its_seed_alone(task: Task):
    first, other, again = (play(task, seed, action_noise=0.05) for seed in (SEED, SEED + 2, SEED))
    np.testing.assert_equal(first.observations, again.observations)
    np.testing.assert_equal(first.actions, again.actions)
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(leaves(first.observations[0]), leaves(other.observations[0]), strict=True)
    )


def test_random_actions_are_worse_than_the_expert(task: Task):
    def random(env: gymnasium.Env):
        return random_policy(env, seed=SEED)

    limit = task.max_episode_steps
    chance = run_episode(env_of(task.name), random, seed=SEED, max_episode_steps=limit)
    assert chance.episode_return <= play(task, SEED).episode_return


def test_time_is_limited(task: Task):
    def idle(env: gymnasium.Env):
        return lambda observation: np.zeros(env.action_space.shape, env.action_space.dtype)

    rollout = run_episode(env_of(task.name), idle, seed=SEED, max_episode_steps=3)
    assert len(rollout) <= 3
    assert len(rollout.observations) == len(rollout) + 1


def test_tasks_can_be_sent_to_other_processes(task: Task):
    assert pickle.loads(pickle.dumps(task)) is not None


def test_unknown_task_lists_the_known_ones_the_closest_first():
    with pytest.raises(ValueError, match=r"no task 'cartpol'; known are cartpole, .*babyai-go-to"):
        get_task("cartpol")


def test_missing_package_says_what_to_install():
    with pytest.raises(ImportError, match=r"pip install 'mugato\[babyai\]'"):
        require("no_such_package_at_all", extra="babyai")


def test_naming_tasks_imports_no_environment():
    heavy = "{'minigrid', 'mujoco', 'metaworld', 'gymnasium_robotics', 'Box2D'}"
    code = f"import sys, mugato.tasks.registry; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("field", "value"), [("action_noise", 1.5), ("episodes", 0)])
def test_task_refuses_bad_numbers(field: str, value: float):
    good = {"name": "x", "domain": "x", "make_env": print, "max_episode_steps": 9}
    with pytest.raises(ValueError, match=rf"x: {field} must be .* got {value}"):
        Task(**{**good, field: value})


def leaves(value) -> list:
    match value:
        case dict():
            return [leaf for key in sorted(value) for leaf in leaves(value[key])]
        case tuple():
            return [leaf for child in value for leaf in leaves(child)]
    return [value]
