"""One policy in a Gymnasium VectorEnv, and what it reads before its first observation."""

import copy
import dataclasses
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.acting.policy import Policy, VectorPolicy
from mugato.acting.prompt import prompt_tokens
from mugato.acting.sampling import row_generator
from mugato.acting.stream import TokenStream
from mugato.agent import GREEDY
from mugato.model.precision import inference_weights
from mugato.spec import spec_of
from mugato.tokens.packing import pack
from mugato.tokens.sequence import encode
from tests.agents import random_episode, tiny_agent
from tests.spaces_list import IMAGES, SPACES

OBSERVATION = spaces.Dict(x=spaces.Box(-2, 2, (3,)), mission=spaces.Text(12))
KINDS = [
    "rotary",
    *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("transformer-xl", "recurrent")),
]


def make_agent(observation_space, action_space, **changes):
    return tiny_agent({"task": spec_of(observation_space, action_space)}, **changes)


def inference(**options):
    return InferenceConfig(sampling=GREEDY, precision="fp32", **options)


def act(agent, **options):
    return Policy(agent, task="task", inference=inference(**options))


def act_in(agent, envs, **options):
    return VectorPolicy(agent, envs, task="task", inference=inference(**options))


def act_in_rows(agent, num_rows, **options):
    return BatchPolicy(agent, task="task", num_rows=num_rows, inference=inference(**options))


class Countdown(gymnasium.Env):
    """Ends after as many steps as its number says; any space may be observed and taken."""

    def __init__(self, steps, observation_space, action_space):
        self.steps = steps
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.steps
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.left -= 1
        return self.observation_space.sample(), 1.0, self.left == 0, False, {}


def countdowns(observation_space, action_space, mode, steps=(2, 3, 5)):
    def make(count):
        # Spaces of their own: environments that share one would share its numbers.
        copied = copy.deepcopy((observation_space, action_space))
        return lambda: Countdown(count, *copied)

    return SyncVectorEnv([make(n) for n in steps], autoreset_mode=mode)


def test_cartpole_as_a_vector_environment():
    envs = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    agent = make_agent(envs.single_observation_space, envs.single_action_space)
    policy = act_in(agent, envs)
    observations, _ = envs.reset(seed=0)
    for _ in range(30):
        actions = policy.select_action(observations)
        assert envs.action_space.contains(actions)
        observations, _, terminated, truncated, _ = envs.step(actions)
        policy.mark_done(terminated | truncated)
    envs.close()


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")  # Gymnasium's own, of ()
@pytest.mark.parametrize("name", [*SPACES, *IMAGES])
def test_batches_of_every_space_are_taken_and_given_as_gymnasium_has_them(name):
    seen = {**SPACES, **IMAGES}[name]
    taken = SPACES["discrete"] if name in ("nested", "text", *IMAGES) else seen
    envs = countdowns(seen, taken, AutoresetMode.NEXT_STEP)
    policy = act_in(make_agent(seen, taken, context_length=512), envs)
    observations, _ = envs.reset(seed=0)
    for _ in range(4):  # `Countdown.step` asserts that its action lies in its space
        observations, _, terminated, truncated, _ = envs.step(policy.select_action(observations))
        policy.mark_done(terminated | truncated)


@pytest.mark.parametrize(
    ("mode", "history"),
    [
        (AutoresetMode.NEXT_STEP, None),
        pytest.param(AutoresetMode.SAME_STEP, None, marks=pytest.mark.thorough),
        (AutoresetMode.SAME_STEP, 2),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_each_row_begins_anew_with_its_next_episode(mode, history, kind):
    seen, taken = SPACES["box"], SPACES["multi_discrete"]
    agent = tiny_agent({"task": spec_of(seen, taken)}, history=history, sequence_model=kind)
    envs = countdowns(seen, taken, mode)
    policy = act_in(agent, envs)
    alone = [act(agent) for _ in range(3)]
    observations, _ = envs.reset(seed=1)
    before, begins = np.zeros((2, 3), bool)
    for _ in range(14):
        for row in np.flatnonzero(begins):
            alone[row].reset()
        actions = policy.select_action(observations)
        expected = [one.select_action(o) for one, o in zip(alone, observations, strict=True)]
        np.testing.assert_array_equal(actions, expected)
        observations, _, terminated, truncated, _ = envs.step(actions)
        over = terminated | truncated
        policy.mark_done(over)
        # By default the observation that ends an episode is seen once more before the next begins.
        begins, before = (before if mode == AutoresetMode.NEXT_STEP else over), over


def test_rows_are_reset_alone():
    agent = make_agent(OBSERVATION, spaces.Discrete(9))
    OBSERVATION.seed(0)
    observations = [OBSERVATION.sample() for _ in range(6)]
    policy, fresh = act_in_rows(agent, 2), act(agent)
    steady = act(agent)
    for observation in observations[:3]:
        policy.select_actions([observation] * 2)
        steady.select_action(observation)
    policy.reset([False, True])
    for observation in observations[3:]:
        expected = [steady.select_action(observation), fresh.select_action(observation)]
        assert policy.select_actions([observation] * 2) == expected
    with pytest.raises(ValueError, match="rows must be 2 times True or False, got bool of shape"):
        policy.reset([True])


def chosen_in_full_pass(agent, episode, number):
    """Return what one pass over an episode would have chosen at its last timesteps."""
    spec = agent.spec("task")
    s = encode(episode, spec, agent.tokenizer)
    hidden = agent.model.hidden(pack([s], length=len(s)).inputs)[0][0]
    (leaf,) = spec.action_leaves.values()
    places = np.flatnonzero(s.loss_mask).reshape(-1, leaf.size)[-number:]
    legal = [agent.tokenizer.legal_ids(leaf, i) for i in range(leaf.size)]
    return [
        [
            int(agent.model.logits(hidden[place], ids).argmax())
            for place, ids in zip(row, legal, strict=True)
        ]
        for row in places
    ]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, pytest.param("hf:gpt2", marks=pytest.mark.thorough)])
def test_a_demonstration_is_read_before_every_episode(kind):
    seen, taken = SPACES["box"], SPACES["multi_discrete"]
    episode, spec = random_episode(seen, taken, 7)
    agent = tiny_agent({"task": spec}, sequence_model=kind)
    policy = act_in_rows(agent, 2, prompt=episode.window(0, 5))
    new = episode.observations["observation"][5:]
    firsts = policy.select_action(np.stack([new[0], new[1]]))
    policy.reset([True, False])
    actions = [policy.select_action(np.stack([o, o]))[0] for o in new]
    np.testing.assert_array_equal(actions[0], firsts[0])
    acted = np.concatenate([episode.actions["action"][:5], actions])
    acted = dataclasses.replace(episode, actions={"action": acted})
    np.testing.assert_array_equal(actions, chosen_in_full_pass(agent, acted, 2))


def test_of_a_long_demonstration_whole_timesteps_are_read_from_either_side():
    episode, spec = random_episode(SPACES["box"], SPACES["multi_discrete"], 9)
    agent = tiny_agent({"task": spec}, context_length=33)  # five timesteps of six tokens
    whole = encode(episode, spec, agent.tokenizer).ids
    start, end = (prompt_tokens(agent, episode, task="task", part=p).ids for p in ("start", "end"))
    np.testing.assert_array_equal(start, whole[:30])
    np.testing.assert_array_equal(end, whole[-30:])


def test_a_demonstration_is_read_for_1024_tokens_however_long_the_context():
    episode, spec = random_episode(SPACES["box"], SPACES["multi_discrete"], 300)
    agent = tiny_agent({"task": spec}, context_length=1500)
    start, end = (prompt_tokens(agent, episode, task="task", part=p).ids for p in ("start", "end"))
    assert len(start) == len(end) == 1024 // 6 * 6


def test_a_text_is_read_before_every_episode():
    agent = make_agent(OBSERVATION, spaces.Box(-1, 1, (2,)))
    observation = OBSERVATION.sample()
    plain = act(agent).select_action(observation)
    policy = act(agent, prompt="go to the red ball")
    told = policy.select_action(observation)
    assert not np.array_equal(plain, told)
    policy.reset()
    np.testing.assert_array_equal(policy.select_action(observation), told)


def test_a_prompt_that_cannot_be_is_refused():
    episode, spec = random_episode(SPACES["box"], SPACES["discrete"], 3)
    agent = tiny_agent({"task": spec}, context_length=16)
    wrong = dataclasses.replace(episode, actions={"action": np.array([1, 9, 0])})
    for prompt, message in (
        (wrong, "'action' at timestep 1 is outside"),
        ("", "1 to 16 tokens, this has 0"),
        ("go to the red ball " * 9, "1 to 16 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            act(agent, prompt=prompt)
    with pytest.raises(ValueError, match="forgets everything after 1 timesteps"):
        act(tiny_agent({"task": spec}, history=1), prompt=episode)


@pytest.mark.thorough
def test_a_prompt_of_another_kind_is_refused_without_type_checks():
    # In a process of its own: here beartype would be the one to refuse.
    code = (
        "from gymnasium import spaces\n"
        "from mugato import InferenceConfig, Policy, spec_of\n"
        "from tests.agents import tiny_agent\n"
        "spec = spec_of(spaces.Box(0, 1, (2,)), spaces.Discrete(2))\n"
        "inference = InferenceConfig(prompt=['go', 'on'])\n"
        "Policy(tiny_agent({'task': spec}), task='task', inference=inference)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.endswith("ValueError: task: a prompt is an Episode or a text, not list\n")


def test_rows_forget_each_after_its_own_history():
    agent = tiny_agent({"task": spec_of(OBSERVATION, spaces.Discrete(9))}, history=2)
    policy, alone = act_in_rows(agent, 2), act(agent)
    observations = [OBSERVATION.sample() for _ in range(6)]
    expected = [alone.select_action(o) for o in observations]  # forgets before the 3rd and the 5th
    assert policy.select_actions([observations[0]] * 2) == [expected[0]] * 2
    policy.reset([False, True])
    for t in range(1, 6):
        got = policy.select_actions([observations[t], observations[t - 1]])
        assert got == [expected[t], expected[t - 1]]


def test_another_environment_is_refused_with_both_specs():
    agent = make_agent(OBSERVATION, spaces.Discrete(3))
    policy = act(agent)
    policy.check(Countdown(1, OBSERVATION, spaces.Discrete(3)))
    with pytest.raises(ValueError) as error:
        policy.check(Countdown(1, OBSERVATION, spaces.Discrete(4)))
    assert "> action action: discrete, shape (), from 0 to 2" in str(error.value)
    assert "> action action: discrete, shape (), from 0 to 3" in str(error.value)
    assert str(error.value).count("  observation x: continuous, shape (3,)") == 2
    with pytest.raises(ValueError, match="3 environments, not one: use a VectorPolicy"):
        policy.check(countdowns(OBSERVATION, spaces.Discrete(3), AutoresetMode.NEXT_STEP))
    with pytest.raises(ValueError, match="> action action: discrete, shape \\(\\), from 0 to 3"):
        act_in(agent, countdowns(OBSERVATION, spaces.Discrete(4), AutoresetMode.NEXT_STEP))


def test_a_wrong_row_of_a_batch_is_named():
    policy = act_in_rows(make_agent(SPACES["box"], spaces.Discrete(3)), 2)
    with pytest.raises(ValueError, match="of row 1 holds NaN"):
        policy.select_action(np.array([[0, 0, 0], [0, np.nan, 0]], np.float32))
    with pytest.raises(ValueError, match="3 observations for 2 rows"):
        policy.select_action(np.zeros((3, 3), np.float32))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, pytest.param("hf:gpt2", marks=pytest.mark.thorough)])
def test_weights_stored_in_bf16_say_nearly_the_same(kind):
    agent = make_agent(SPACES["box"], spaces.Discrete(5), sequence_model=kind)
    episode, spec = random_episode(SPACES["box"], spaces.Discrete(5), 8)
    tokens = encode(episode, spec, agent.tokenizer)
    logits, every = {}, range(agent.model.config.vocab.size)
    for precision in ("fp32", "bf16"):
        stream = TokenStream(agent.model, num_rows=1, precision=precision)
        with torch.inference_mode():
            stream.prefill(tokens)
            logits[precision] = agent.model.logits(stream._last, every)
    assert not torch.equal(logits["fp32"], logits["bf16"])
    torch.testing.assert_close(logits["fp32"], logits["bf16"], atol=0.05, rtol=0)


def test_stored_weights_follow_the_models():
    agent = make_agent(SPACES["box"], spaces.Discrete(5))
    stored = inference_weights(agent.model.sequence_model, "bf16")
    assert inference_weights(agent.model.sequence_model, "bf16") is stored
    assert inference_weights(agent.model.sequence_model, "fp32") is agent.model.sequence_model
    with torch.no_grad():
        next(agent.model.sequence_model.parameters()).mul_(2)
    assert inference_weights(agent.model.sequence_model, "bf16") is not stored


def test_row_one_of_a_seed_is_not_row_zero_of_the_next():
    drawn = [row_generator(seed, row).initial_seed() for seed in range(3) for row in range(3)]
    assert len(set(drawn)) == 9
