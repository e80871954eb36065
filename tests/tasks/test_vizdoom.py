import gc
import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vizdoom")

from mugato.tasks.domains.vizdoom import TASKS
from mugato.tasks.rollout import random_policy, run_episode
from mugato.tasks.task import TUNING_SEEDS, Task

SEED = TUNING_SEEDS.start


@pytest.mark.thorough
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_expert_shoots_better_than_random_actions(task: Task):
    env = task.make_env()
    limit = task.max_episode_steps
    expert = run_episode(env, task.make_expert, seed=SEED, max_episode_steps=limit)
    chance = run_episode(
        env, lambda env: random_policy(env, seed=SEED), seed=SEED, max_episode_steps=limit
    )
    env.close()
    assert expert.observations[0]["screen"].shape == (60, 80, 3)
    assert expert.episode_return > max(chance.episode_return, task.failure_return)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_seeds_begin_differently_and_repeat(task: Task):
    env = task.make_env()
    first, second, again = (env.reset(seed=seed)[0]["screen"] for seed in (SEED, SEED + 1, SEED))
    env.close()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_the_game_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here, aside = tmp_path / "here", tmp_path / "aside"
    for folder in (here, aside):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    env = TASKS[0].make_env()
    for seed in (SEED, SEED + 1):
        env.reset(seed=seed)
        env.step(env.action_space.sample())
        assert Path.cwd() == here
    assert not list(here.iterdir()) and len(list(aside.iterdir())) == 1
    env.close()
    del env
    gc.collect()
    assert not list(here.iterdir()) and not list(aside.iterdir())
