import all_spaces
import gymnasium
import numpy as np
import pytest

from mugato.data.formats.minari.read import complete_dataset_id
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.rollout import run_episode


def test_any_registered_environment_becomes_a_task():
    task = gymnasium_task("MountainCar-v0", expert="all_spaces:expert")
    assert (task.name, task.max_episode_steps, task.action_noise) == ("MountainCar-v0", 200, 0.0)
    assert task.make_env().observation_space.shape == (2,)


def test_the_environments_module_is_imported_and_its_limit_made_up():
    task = gymnasium_task(all_spaces.ENV_ID, expert="all_spaces:expert", max_episode_steps=3)
    rollout = run_episode(task.make_env(), task.make_expert, seed=0, max_episode_steps=3)
    assert len(rollout) == 3
    task = gymnasium_task(all_spaces.ENV_ID)
    assert task.max_episode_steps == 10_000
    # By this name it is trained on, so by this name it is corrected.
    assert task.name == all_spaces.ENV_ID and ":" in task.name
    assert complete_dataset_id(task.dataset_id_of("corrections-0123")) == (
        "mugato/all_spaces-AllSpaces-v0/corrections-0123-v0"
    )


def test_missions_become_text():
    pytest.importorskip("minigrid")
    task = gymnasium_task("MiniGrid-Empty-5x5-v0")
    env = task.make_env()
    assert isinstance(env.observation_space["mission"], gymnasium.spaces.Text)
    assert env.observation_space.contains(env.reset(seed=0)[0])


def test_experts_are_found_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_expert.py").write_text("def act(observation):\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    task = gymnasium_task("CartPole-v1", expert="my_expert:act")
    assert task.make_expert(task.make_env())(np.zeros(4)) == 1


@pytest.mark.parametrize(
    ("env_id", "expert", "message"),
    [
        ("CartPol-v1", None, "no Gymnasium environment 'CartPol-v1'; did you mean CartPole-v1"),
        ("nowhere:A-v0", None, "environment 'nowhere:A-v0': cannot import 'nowhere'"),
        ("CartPole-v1", "expert", "written 'package.module:name', not 'expert'"),
        ("CartPole-v1", "nowhere:act", "cannot import 'nowhere'"),
        ("CartPole-v1", "all_spaces:nothing", "'all_spaces' has no 'nothing'"),
        ("CartPole-v1", "all_spaces:not_a_function", "is a int, not a function"),
    ],
)
def test_what_cannot_be_found_is_named(env_id: str, expert: str | None, message: str):
    with pytest.raises(ValueError, match=message):
        gymnasium_task(env_id, expert=expert)


class Graphs(gymnasium.Env):
    observation_space = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(3))
    action_space = gymnasium.spaces.Discrete(2)


def test_an_unsupported_space_is_named():
    gymnasium.register("Graphs-v0", entry_point=Graphs)
    try:
        with pytest.raises(ValueError, match="Graphs-v0: observation: unsupported space Sequence"):
            gymnasium_task("Graphs-v0")
    finally:
        del gymnasium.registry["Graphs-v0"]
