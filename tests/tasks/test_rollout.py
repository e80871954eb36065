import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mugato.tasks.conform import NotInSpaceError
from mugato.tasks.rollout import perturb, run_episode
from mugato.tasks.wrappers import LastAction


class Echo(gymnasium.Env):
    """Shows the action that was executed last; 400 timesteps."""

    def __init__(self, space: spaces.Space) -> None:
        self.observation_space = self.action_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.timestep = 0
        return self.action_space.sample(), {}

    def step(self, action):
        self.timestep += 1
        return action, 1.0, False, self.timestep == 400, {}


def run(space: spaces.Space, action, noise: float):
    env = Echo(space)
    return run_episode(
        env,
        lambda env: lambda observation: action,
        seed=0,
        max_episode_steps=500,
        action_noise=noise,
    )


def test_noise_is_executed_and_the_experts_action_is_kept():
    rollout = run(spaces.Discrete(5, start=-2), 1, noise=0.5)
    executed = np.array(rollout.observations[1:])
    assert rollout.executed == executed.tolist()
    assert set(rollout.actions) == {1}
    assert set(executed) == {-2, -1, 0, 1, 2}
    assert 0.5 < np.mean(executed == 1) < 0.7  # half, and a fifth of the random ones


def test_continuous_noise_is_in_units_of_half_the_range_and_clipped():
    space = spaces.Box(np.array([0.0, -100.0]), np.array([2.0, 100.0]), dtype=np.float64)
    rollout = run(space, [1.0, 90.0], noise=0.1)
    executed = np.array(rollout.observations[1:])
    assert np.all(np.array(rollout.actions) == [1.0, 90.0])
    np.testing.assert_allclose(executed[:, 0].std(), 0.1, rtol=0.15)
    assert executed[:, 1].max() == 100.0


def test_each_step_is_told_and_which_is_the_last():
    for limit in (3, 500):
        seen = []
        run_episode(
            Echo(spaces.Discrete(2)), lambda env: lambda observation: 0, seed=0,
            max_episode_steps=limit, on_step=lambda *step, seen=seen: seen.append(step),
        )  # fmt: skip
        steps = min(limit, 400)
        assert seen == [(1.0, False)] * (steps - 1) + [(1.0, True)]


def test_without_noise_the_experts_action_is_executed():
    rollout = run(spaces.Box(-1, 1, (3,)), np.array([0.1, 0.2, 0.3]), noise=0.0)
    np.testing.assert_array_equal(rollout.observations[1:], rollout.actions)
    assert rollout.executed is None


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 9], start=[1, -4]),
        spaces.MultiBinary(3),
        spaces.Box(-3, 3, (2, 2), np.int16),
        spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.Box(-1, 1, (2,)))]),
    ],
)
def test_perturbed_actions_belong_to_the_space(space: spaces.Space):
    rng = np.random.default_rng(0)
    space.seed(0)
    drawn = [perturb(space, space.sample(), 0.9, rng) for _ in range(50)]
    assert all(space.contains(action) for action in drawn)


def test_noise_without_bounds_is_refused():
    with pytest.raises(ValueError, match="needs bounded actions"):
        run(spaces.Box(-np.inf, np.inf, (1,)), [0.0], noise=0.1)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.0, 1.1], r"action array?.*|action \[0.0, 1.1\] is outside Box"),
        ([0.0, float("nan")], "action holds NaN"),
        ([0.0], r"action has shape \(1,\), expected \(2,\)"),
        ("left", "action is of type <U4, not float32: 'left'"),
        (None, "action is of type object, not float32: None"),
    ],
)
def test_actions_outside_the_space_are_refused(action, message: str):
    with pytest.raises(NotInSpaceError, match=message):
        run(spaces.Box(-1, 1, (2,)), action, noise=0.0)


@pytest.mark.parametrize("action", [3, -1, 0.0, 2**40, [0], "0"])
def test_discrete_actions_outside_the_space_are_refused(action):
    with pytest.raises(NotInSpaceError, match="action"):
        run(spaces.Discrete(3), action, noise=0.0)


def test_last_action_is_the_executed_one():
    env = LastAction(Echo(spaces.Discrete(100)))
    seen = []

    def make_policy(env):
        return lambda observation: seen.append(env.last_action) or 7

    rollout = run_episode(env, make_policy, seed=0, max_episode_steps=9, action_noise=0.9)
    assert seen == [None, *rollout.observations[1:-1]]
