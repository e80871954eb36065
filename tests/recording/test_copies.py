"""What is recorded is what was seen and done, whatever is written into afterwards."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.data.formats.minari.read import open_minari
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.rollout import run_episode
from mugato.tasks.task import Task
from tests.recording.recording import record


class OneBuffer(gymnasium.Env):
    """Counts in one array that it returns again and again, and halves the actions it is given."""

    observation_space = spaces.Dict(count=spaces.Box(-99, 99, (1,)))
    action_space = spaces.Box(-50, 50, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.buffer = np.zeros(1, np.float32)
        return {"count": self.buffer}, {}

    def step(self, action):
        self.buffer += 1
        action /= 2
        return {"count": self.buffer}, 0.0, self.buffer[0] == 4, False, {}


def in_place(observation):
    observation["count"][:] = observation["count"] + 0.0
    action = observation["count"] * 10
    return action


class OneAction:
    """An expert that answers with the same array each time."""

    def __init__(self) -> None:
        self.action = np.zeros(1, np.float32)

    def __call__(self, observation):
        self.action[:] = observation["count"] * 10
        observation["count"] = None  # its remains
        return self.action


def tensors(observation):
    return torch.tensor(observation["count"] * 10, dtype=torch.bfloat16, requires_grad=True) * 1


@pytest.mark.parametrize("expert", [in_place, OneAction(), tensors])
def test_nothing_recorded_changes_afterwards(expert):
    rollout = run_episode(OneBuffer(), lambda env: expert, seed=0, max_episode_steps=9)
    assert [o["count"].tolist() for o in rollout.observations] == [[0], [1], [2], [3], [4]]
    assert [a.tolist() for a in rollout.actions] == [[0], [10], [20], [30]]


def test_noise_keeps_what_was_executed():
    def half(env):
        return lambda observation: np.full(1, 8, np.float32)

    plain = run_episode(OneBuffer(), half, seed=1, max_episode_steps=4, action_noise=0.1)
    assert plain.executed is not None
    assert [a.item() for a in plain.actions] == [8] * 4
    noisy = [a.item() for a in plain.executed]
    assert len(set(noisy)) == 4 and 0 < np.std(noisy) < 20  # 0.1 * 50 is the deviation


@pytest.fixture
def one_buffer() -> Task:
    if "OneBuffer-v0" not in gymnasium.registry:
        gymnasium.register("OneBuffer-v0", OneBuffer)
    return replace(gymnasium_task("OneBuffer-v0", expert="math:sqrt"), max_episode_steps=9)


def test_the_file_holds_what_was_played(one_buffer, minari_folder):
    task = replace(one_buffer, make_expert=lambda env: OneAction())
    record(task, episodes=2, dataset="mine")
    episode = open_minari("mine")[1]
    assert episode.observations["count"][:, 0].tolist() == [0, 1, 2, 3]
    assert episode.actions["action"][:, 0].tolist() == [0, 10, 20, 30]


def test_a_reward_that_is_not_finite_is_refused(one_buffer):
    class Endless(OneBuffer):
        def step(self, action):
            return super().step(action)[0], float("nan"), False, False, {}

    task = replace(one_buffer, make_env=Endless, make_expert=lambda env: in_place)
    with pytest.raises(ValueError, match="OneBuffer-v0, seed 0: the reward at timestep 0 is nan"):
        record(task, episodes=1, dataset="nan")


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(2, np.float32), r"observation/count at timestep 2 has shape \(2,\), expected"),
        (["a"], "observation/count at timestep 2 is of type <U1, not float32"),
    ],
)
def test_the_timestep_that_does_not_fit_is_named(one_buffer, observation, message):
    class Odd(OneBuffer):
        def step(self, action):
            seen, *rest = super().step(action)
            return {"count": observation} if self.buffer[0] == 2 else seen, *rest

    still = lambda env: lambda observation: np.zeros(1, np.float32)  # noqa: E731
    task = replace(one_buffer, make_env=Odd, make_expert=still)
    with pytest.raises(ValueError, match=f"OneBuffer-v0, seed 0: {message}"):
        record(task, episodes=1, dataset="odd")


def test_a_text_that_the_file_cannot_hold_is_refused(one_buffer):
    class Words(gymnasium.Env):
        observation_space, action_space = spaces.Text(9), spaces.Discrete(2)

        def __init__(self, ending: str) -> None:
            self.ending = ending

        def reset(self, *, seed=None, options=None):
            return "é\0 ü", {}

        def step(self, action):
            return f"é\0 ü{self.ending}", 0.0, True, False, {}

    make_expert = lambda env: lambda observation: 1  # noqa: E731
    task = replace(one_buffer, make_env=lambda: Words("\0"), make_expert=make_expert)
    with pytest.raises(ValueError, match=r"timestep 1 .* ends with NUL"):
        record(task, episodes=1, dataset="nul")
    record(replace(task, make_env=lambda: Words("")), episodes=1, dataset="fine")
    assert open_minari("fine")[0].observations["observation"].tolist() == ["é\0 ü"]
