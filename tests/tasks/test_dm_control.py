import numpy as np
import pytest

pytest.importorskip("shimmy")
pytest.importorskip("mujoco")

from mugato.tasks.domains.dm_control import TASKS
from mugato.tasks.rollout import random_policy, run_episode
from mugato.tasks.task import TUNING_SEEDS, Task

SEED = TUNING_SEEDS.start
BY_NAME = {task.name: task for task in TASKS}


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["dm-control-reacher-easy", "dm-control-point-mass-easy"])
def test_the_planner_is_at_its_goal_within_200_steps_and_repeats(name: str):
    task = BY_NAME[name]
    env = task.make_env()

    def play(make_policy):
        return run_episode(env, make_policy, seed=SEED, max_episode_steps=200)

    expert, again = play(task.make_expert), play(task.make_expert)
    assert expert.rewards[-10:].mean() > 0.8
    assert expert.episode_return > play(lambda e: random_policy(e, seed=SEED)).episode_return
    np.testing.assert_equal(again.observations, expert.observations)
    env.close()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_planning_does_not_move_the_robot(task: Task):
    env = task.make_env()
    observation, _ = env.reset(seed=SEED)
    physics = env.get_wrapper_attr("_env").physics
    before = physics.get_state().copy()
    action = task.make_expert(env)(observation)
    assert env.action_space.contains(action)
    np.testing.assert_array_equal(physics.get_state(), before)
    env.close()
