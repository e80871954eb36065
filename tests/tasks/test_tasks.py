"""What every task promises, checked for each one in the registry."""

import pickle
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import gymnasium
import numpy as np
import pytest

from mugato.spec import spec_of
from mugato.tasks.domains.mujoco import LINKS_M, reaching_angles
from mugato.tasks.registry import DOMAINS, PACKAGES, TASKS, get_task
from mugato.tasks.rollout import run_episode
from mugato.tasks.task import TUNING_SEEDS, Task, require

SEED = TUNING_SEEDS.start
NUM_STEPS = 20
# One task of each domain is checked in every run, the first where none is named, but for games
# that take seconds to make; all are when there is time.
NAMED = {"minigrid": "minigrid-memory-s7", "pointmaze": "pointmaze-umaze"}
CHOSEN = {NAMED.get(domain.TASKS[0].domain, domain.TASKS[0].name) for domain in DOMAINS}
# These begin the same whatever the seed, and nothing in them is left to chance.
WITHOUT_CHANCE = {
    "cliff-walking",
    *(f"minigrid-empty-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    *(f"minigrid-dist-shift-{number}" for number in (1, 2)),
}
SLOW_TO_MAKE = {"textworld", "atari", "metaworld"}
NUM_SEEDS = {"textworld": 2}
# At some seeds their expert gives up, and says so.
GIVES_UP = {"babyai-unlock", "babyai-unlock-to-unlock", "babyai-go-to-imp-unlock"}


def params() -> list:
    def mark(task: Task) -> list:
        if task.name not in CHOSEN:
            return [pytest.mark.slow]
        return [pytest.mark.thorough] if task.domain in SLOW_TO_MAKE else []

    return [pytest.param(task, id=task.name, marks=mark(task)) for task in TASKS.values()]


@pytest.fixture(params=params())
def task(request: pytest.FixtureRequest) -> Task:
    for package in PACKAGES[request.param.domain]:
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
    return request.param


@cache
def env_of(name: str) -> gymnasium.Env:
    return TASKS[name].make_env()


def play(task: Task, seed: int, *, steps: int = NUM_STEPS, **options):
    env = env_of(task.name)
    return run_episode(env, task.make_expert, seed=seed, max_episode_steps=steps, **options)


def seeds_of(task: Task, number: int) -> list[int]:
    """Return the first seeds at which the expert does not give up."""
    if task.name not in GIVES_UP:
        return list(range(SEED, SEED + number))
    seeds = []
    for seed in range(SEED, SEED + 5 * number):
        with suppress(RuntimeError):
            play(task, seed, steps=task.max_episode_steps)
            seeds.append(seed)
    return seeds[:number]


def test_spaces_are_supported(task: Task):
    env = env_of(task.name)
    spec = spec_of(env.observation_space, env.action_space)
    assert spec.observation_leaves
    assert spec.action_leaves


def test_the_expert_acts_with_and_without_noise(task: Task):
    [seed] = seeds_of(task, 1)
    for noise in sorted({0.0, task.action_noise}):
        rollout = play(task, seed, action_noise=noise)
        assert 1 <= len(rollout) <= NUM_STEPS
        assert len(rollout.observations) == len(rollout) + 1


@pytest.mark.slow
def test_the_expert_succeeds_at_some_seed(task: Task):
    def succeeds(seed: int) -> bool:
        return task.succeeded(play(task, seed, steps=task.max_episode_steps).episode_return)

    assert any(succeeds(seed) for seed in seeds_of(task, 5))


def test_an_episode_depends_on_its_seed_alone(task: Task):
    seeds = seeds_of(task, NUM_SEEDS.get(task.domain, 3))
    first, *others, again = (play(task, seed) for seed in [*seeds, seeds[0]])
    np.testing.assert_equal(first.observations, again.observations)
    np.testing.assert_equal(first.actions, again.actions)
    if task.name not in WITHOUT_CHANCE:
        assert not all(same(first.observations, other.observations) for other in others)


def test_time_is_limited(task: Task):
    def any_action(env: gymnasium.Env):
        return lambda observation: env.action_space.sample()

    rollout = run_episode(env_of(task.name), any_action, seed=SEED, max_episode_steps=3)
    assert len(rollout) <= 3
    assert len(rollout.observations) == len(rollout) + 1


def test_tasks_can_be_sent_to_other_processes(task: Task):
    assert pickle.loads(pickle.dumps(task)).name == task.name


def test_names_are_given_once_and_jats_are_ours():
    assert len(TASKS) == sum(len(domain.TASKS) for domain in DOMAINS)
    assert all(task.jat_name in (None, task.name) for task in TASKS.values())
    assert set(PACKAGES) == {task.domain for task in TASKS.values()}


def test_jats_tasks_with_an_expert_are_all_there():
    ours = [task.jat_name.partition("-")[0] for task in TASKS.values() if task.jat_name]
    counts = {suite: ours.count(suite) for suite in ("babyai", "metaworld", "mujoco")}
    assert counts == {"babyai": 39, "metaworld": 50, "mujoco": 3}


@pytest.mark.parametrize("target", [(0.1, 0.05), (-0.15, 0.1), (0.0, -0.2), (0.03, 0.0)])
def test_the_arm_reaches_what_its_angles_are_worked_out_for(target: tuple[float, float]):
    upper, fore = LINKS_M
    for shoulder, elbow in reaching_angles(np.array(target)):
        x = upper * np.cos(shoulder) + fore * np.cos(shoulder + elbow)
        y = upper * np.sin(shoulder) + fore * np.sin(shoulder + elbow)
        np.testing.assert_allclose((x, y), target, atol=1e-9)


def test_an_unknown_task_names_the_one_that_was_meant():
    with pytest.raises(ValueError, match=r"no task 'cartpol'; did you mean cartpole\?"):
        get_task("cartpol")


def test_missing_package_says_what_to_install():
    with pytest.raises(ImportError, match=r"pip install 'mugato\[babyai\]'"):
        require("no_such_package_at_all", extra="babyai")


def test_naming_tasks_imports_no_environment():
    heavy = "{'minigrid', 'mujoco', 'metaworld', 'gymnasium_robotics', 'Box2D', 'panda_gym',"
    heavy += "'ale_py', 'dm_control', 'vizdoom', 'textworld', 'torch'}"
    code = f"import sys, mugato.tasks.registry; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("field", "value"), [("action_noise", 1.5), ("episodes", 0)])
def test_task_refuses_bad_numbers(field: str, value: float):
    good = {"name": "x", "domain": "x", "make_env": print, "max_episode_steps": 9}
    with pytest.raises(ValueError, match=rf"x: {field} must be .* got {value}"):
        Task(**{**good, field: value})


def same(one, other) -> bool:
    try:
        np.testing.assert_equal(one, other)
    except AssertionError:
        return False
    return True
