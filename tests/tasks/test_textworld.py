import pytest

pytest.importorskip("textworld")

from mugato.tasks.domains.textworld import TASKS
from mugato.tasks.rollout import random_policy, run_episode
from mugato.tasks.task import TUNING_SEEDS

SEED = TUNING_SEEDS.start
TASK = TASKS[0]


@pytest.mark.thorough
def test_the_expert_wins_in_as_many_commands_as_the_quest_takes():
    env = TASK.make_env()
    rollout = run_episode(env, TASK.make_expert, seed=SEED, max_episode_steps=20)
    assert (rollout.episode_return, rollout.terminated) == (1.0, True)
    assert len(rollout) == 4
    assert all(env.observation_space.contains(o) for o in rollout.observations)
    first, second = rollout.observations[:2]
    assert first["objective"] == second["objective"] != ""
    assert first["feedback"] == ""
    assert second["feedback"] != ""


@pytest.mark.thorough
def test_nonsense_is_answered_and_wins_nothing():
    env = TASK.make_env()
    rollout = run_episode(
        env, lambda env: random_policy(env, seed=SEED), seed=SEED, max_episode_steps=5
    )
    assert (rollout.episode_return, len(rollout)) == (0.0, 5)
    assert rollout.observations[-1]["feedback"] != ""
