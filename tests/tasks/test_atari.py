import numpy as np
import pytest

pytest.importorskip("ale_py")

from mugato.tasks.domains.atari import TASKS
from mugato.tasks.rollout import random_policy, run_episode
from mugato.tasks.task import TUNING_SEEDS, Task

SEED = TUNING_SEEDS.start
PONG = TASKS[0]


def test_trying_aims_out_leaves_the_game_as_it_was():
    env = PONG.make_env()
    observation, _ = env.reset(seed=SEED)
    expert = PONG.make_expert(env)
    ale = env.unwrapped.ale
    memory, frame = ale.getRAM().copy(), ale.getEpisodeFrameNumber()
    expert(observation)
    np.testing.assert_array_equal(ale.getRAM(), memory)
    assert ale.getEpisodeFrameNumber() == frame


@pytest.mark.thorough
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_experts_beat_random_actions_within_150_steps(task: Task):
    steps = 150
    env = task.make_env()
    expert = run_episode(env, task.make_expert, seed=SEED, max_episode_steps=steps)
    chance = run_episode(
        env, lambda env: random_policy(env, seed=SEED), seed=SEED, max_episode_steps=steps
    )
    assert expert.observations[0].shape == (80, 64, 3)
    assert expert.episode_return > chance.episode_return
