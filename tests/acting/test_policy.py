"""Acting: legal whatever the weights, equal to a full pass, clear about wrong observations."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.acting.policy import Policy
from mugato.acting.sampling import sample
from mugato.acting.text import continue_text
from mugato.agent import GREEDY, AgentTask, Sampling
from mugato.episode import Episode
from mugato.spec import Leaf, Spec, spec_of
from mugato.tokens.packing import pack
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import tokenize
from tests.agents import random_episode, tiny_agent, tiny_tokenizer
from tests.spaces_list import IMAGES, SPACES

FIXED = InferenceConfig(sampling=GREEDY, precision="fp32")
OBSERVATION = spaces.Dict(x=spaces.Box(-2, 2, (3,)), mission=spaces.Text(12))


def make_policy(observation_space, action_space, *, num_rows=None, temperature=0.0, **changes):
    agent = tiny_agent({"task": spec_of(observation_space, action_space)}, **changes)
    inference = InferenceConfig(sampling=Sampling(temperature=temperature), precision="fp32")
    if num_rows is None:
        return Policy(agent, task="task", inference=inference)
    return BatchPolicy(agent, task="task", num_rows=num_rows, inference=inference)


@pytest.mark.parametrize("name", [n for n in SPACES if n not in ("text", "nested")])
def test_every_action_lies_in_its_space(name):
    policy = make_policy(OBSERVATION, SPACES[name], num_rows=8, temperature=5.0)
    OBSERVATION.seed(0)
    for _ in range(4):
        for action in policy.select_actions([OBSERVATION.sample() for _ in range(8)]):
            assert SPACES[name].contains(action), action


@pytest.mark.parametrize("name", [*SPACES, *IMAGES])
def test_every_space_can_be_observed(name):
    space = {**SPACES, **IMAGES}[name]
    policy = make_policy(space, spaces.Discrete(3), context_length=256)
    space.seed(0)
    assert policy.select_action(space.sample()) in (0, 1, 2)


def test_streamed_actions_equal_those_of_one_full_pass():
    episode, spec = random_episode(OBSERVATION, spaces.MultiDiscrete([4, 5]), 5)
    agent = tiny_agent({"task": spec}, context_length=256)
    policy = Policy(agent, task="task", inference=FIXED)
    taken = []
    for t in range(5):
        observation = {path: values[t] for path, values in episode.observations.items()}
        taken.append(policy.select_action(observation))
    acted = Episode(observations=episode.observations, actions={"action": np.array(taken)})
    s = sequence(tokenize(acted, spec, agent.tokenizer), agent.tokenizer.vocab)
    hidden = agent.model.hidden(pack([s], length=len(s)).inputs)[0][0]
    places = np.flatnonzero(s.loss_mask).reshape(5, 2)
    for t, row in enumerate(places):
        for element, place in enumerate(row):
            ids = agent.tokenizer.legal_ids(spec.action_leaves["action"], element)
            assert int(agent.model.logits(hidden[place], ids).argmax()) == taken[t][element]


@pytest.mark.thorough
def test_rows_together_act_as_each_alone():
    OBSERVATION.seed(1)
    runs = [[OBSERVATION.sample() for _ in range(30)] for _ in range(3)]
    action_space = spaces.MultiDiscrete([7, 7])
    together = make_policy(OBSERVATION, action_space, num_rows=3)
    batched = [
        together.select_actions(list(observations)) for observations in zip(*runs, strict=True)
    ]
    for row, run in enumerate(runs):
        alone = make_policy(OBSERVATION, action_space)
        for t, observation in enumerate(run):
            np.testing.assert_array_equal(alone.select_action(observation), batched[t][row])


def test_kept_rows_go_on_as_before():
    OBSERVATION.seed(2)
    observations = [[OBSERVATION.sample() for _ in range(3)] for _ in range(6)]
    all_rows = make_policy(OBSERVATION, spaces.Discrete(9), num_rows=3)
    some = make_policy(OBSERVATION, spaces.Discrete(9), num_rows=3)
    for t, row in enumerate(observations):
        expected = all_rows.select_actions(row)
        if t == 2:
            some.select_rows([0, 2])
        kept = row if t < 2 else [row[0], row[2]]
        chosen = some.select_actions(kept)
        assert chosen == (expected if t < 2 else [expected[0], expected[2]])


def test_reset_forgets():
    policy = make_policy(OBSERVATION, spaces.Box(-1, 1, (2,)))
    OBSERVATION.seed(3)
    observations = [OBSERVATION.sample() for _ in range(3)]
    first = [policy.select_action(o) for o in observations]
    policy.reset()
    second = [policy.select_action(o) for o in observations]
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"x": np.zeros(2, np.float32), "mission": ""}, r"'x': shape \(2,\), expected \(3,\)"),
        ({"x": np.full(3, np.nan), "mission": ""}, "'x' holds NaN"),
        ({"x": np.zeros(3), "mission": 3}, "'mission' is not a string: 3"),
        ({"mission": "go"}, "does not have the task's structure"),
        ({"x": np.zeros(3), "mission": "", "y": 1}, r"has \['y'\], which the task has not"),
    ],
)
def test_wrong_observations_are_named(observation, message):
    with pytest.raises(ValueError, match=message):
        make_policy(OBSERVATION, spaces.Discrete(2)).select_action(observation)


def test_a_history_of_one_timestep_forgets_the_last():
    agent = tiny_agent({"task": spec_of(OBSERVATION, spaces.Box(-1, 1, (2,)))}, history=1)
    policy = Policy(agent, task="task", inference=FIXED)
    OBSERVATION.seed(3)
    first, second = OBSERVATION.sample(), OBSERVATION.sample()
    alone = policy.select_action(first)
    policy.select_action(second)
    np.testing.assert_array_equal(policy.select_action(first), alone)


def test_an_unknown_task_lists_the_known():
    agent = tiny_agent({"walk": spec_of(OBSERVATION, spaces.Discrete(2))})
    with pytest.raises(ValueError, match="no task 'fly', only walk"):
        Policy(agent, task="fly")
    many = tiny_agent({f"walk-{i}": spec_of(OBSERVATION, spaces.Discrete(2)) for i in range(20)})
    with pytest.raises(ValueError, match=r"no task 'fly', only walk-0, .* and 8 more$"):
        Policy(many, task="fly")


def test_text_goes_on_deterministically_under_a_seed():
    spec = Spec(observation={}, action={"text": Leaf(kind="text", dtype="str")})
    agent = tiny_agent({"prose": spec})
    first, second = (
        "".join(continue_text(agent, "go to", max_tokens=90, seed=4)) for _ in range(2)
    )
    assert first == second != "".join(continue_text(agent, "go to", max_tokens=90, seed=5))


def test_a_row_draws_the_same_alone_and_beside_others():
    OBSERVATION.seed(0)
    rounds = [[OBSERVATION.sample() for _ in range(3)] for _ in range(3)]
    action = spaces.Dict(say=spaces.Text(8), turn=spaces.Discrete(9))
    together = make_policy(OBSERVATION, action, num_rows=3, temperature=1.0, context_length=512)
    alone = make_policy(OBSERVATION, action, temperature=1.0, context_length=512)
    expected = [alone.select_action(observations[0]) for observations in rounds]
    assert [together.select_actions(observations)[0] for observations in rounds] == expected


def test_rows_that_are_left_draw_from_their_own_numbers():
    some, all_rows = (
        make_policy(OBSERVATION, spaces.Box(-1, 1, (4,)), num_rows=3, temperature=1.0)
        for _ in range(2)
    )
    OBSERVATION.seed(0)
    observation = OBSERVATION.sample()
    for policy in (some, all_rows):
        policy.select_actions([observation] * 3)
    some.select_rows([1, 2])
    for policy in (some, all_rows):
        policy.reset()
    first, second, third = all_rows.select_actions([observation] * 3)
    assert not np.array_equal(first, second) and not np.array_equal(second, third)
    np.testing.assert_array_equal(some.select_actions([observation] * 2), [second, third])


def test_sampling_wants_a_generator_for_each_row():
    with pytest.raises(ValueError, match="3 rows to sample, but 1 generators"):
        sample(torch.zeros(3, 4), Sampling(), [torch.Generator()])


def test_ids_are_drawn_as_often_as_their_probability_says():
    logits = torch.tensor([[0.1, 0.0, 0.6, 0.3]]).log().expand(4000, 4)
    generators = [torch.Generator().manual_seed(row) for row in range(4000)]
    shares = torch.bincount(sample(logits, Sampling(), generators), minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.0, 0.6, 0.3]), atol=0.03, rtol=0)


def test_top_p_keeps_the_likeliest_ids_only():
    logits = torch.tensor([[5.0, 4.0, -9.0]]).expand(500, 3)
    generators = [torch.Generator().manual_seed(row) for row in range(500)]
    chosen = sample(logits, Sampling(temperature=1.0, top_p=0.9), generators)
    assert set(chosen.tolist()) == {0, 1}
    assert set(sample(logits, Sampling(temperature=1.0, top_p=0.5), generators).tolist()) == {0}


@pytest.mark.parametrize(
    "x",
    [
        [0.5, -1.0, 1.5],
        torch.tensor([0.5, -1.0, 1.5]),
        torch.tensor([0.5, -1.0, 1.5], requires_grad=True) * 1,
        torch.tensor([0.5, -1.0, 1.5], dtype=torch.bfloat16),
    ],
)
def test_observations_may_be_lists_and_tensors(x):
    policies = [make_policy(OBSERVATION, spaces.MultiDiscrete([50, 60])) for _ in range(2)]
    plain = {"x": np.array([0.5, -1.0, 1.5], np.float32), "mission": "go"}
    expected = policies[0].select_action(plain)
    np.testing.assert_array_equal(policies[1].select_action({**plain, "x": x}), expected)


@pytest.mark.parametrize("x", [torch.zeros(2), ["a", "b", "c"], torch.zeros(3, dtype=torch.cfloat)])
def test_an_observation_of_the_wrong_kind_is_named(x):
    with pytest.raises(ValueError, match=r"task: observation 'x' (has shape|is of type)"):
        make_policy(OBSERVATION, spaces.Discrete(2)).select_action({"x": x, "mission": "go"})


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), -1.0])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a number from 0 on, got"):
        Sampling(temperature=temperature)


def test_a_vanishing_temperature_is_greedy():
    logits = torch.tensor([[0.0, 3.0, 2.9]])
    draws = {int(sample(logits, Sampling(temperature=1e-30), [None])) for _ in range(5)}
    assert draws == {1}


def test_a_seed_that_no_generator_takes_is_refused():
    with pytest.raises(ValueError, match=r"seed must be less than 2\*\*62, got 1844"):
        InferenceConfig(seed=2**64)


def test_numpys_integers_are_seeds():
    one, two = (InferenceConfig(seed=seed) for seed in (7, np.int64(7)))
    assert one == two and type(two.seed) is int


def test_mean_and_median_are_those_of_the_distribution():
    probabilities = torch.tensor([[0.1, 0.1, 0.2, 0.15, 0.45, 0.0], [0.9, 0.0, 0.0, 0.0, 0.0, 0.1]])
    logits = probabilities.log()
    numbers = torch.arange(6.0)
    mean = sample(logits.clamp(min=-99), Sampling(continuous="mean"))
    assert mean.tolist() == (probabilities @ numbers).round().tolist() == [3, 0]
    assert sample(logits.clamp(min=-99), Sampling(continuous="median")).tolist() == [3, 0]
    colder = sample(logits.clamp(min=-99), Sampling(continuous="mean", temperature=0.1))
    assert colder.tolist() == [4, 0]


def test_the_mean_is_one_of_values_also_where_bins_are_no_even_steps():
    """Half at 0 and half at 10 is 5, not the bin half way between theirs: 0.3."""
    tokenizer = tiny_tokenizer()
    leaf = spec_of(spaces.Discrete(2), spaces.Box(-np.inf, np.inf, (1,))).action_leaves["action"]
    ids = tokenizer.legal_ids(leaf)
    logits = torch.full((1, len(ids)), -99.0)
    for value in (0.0, 10.0):
        tokens, _ = tokenizer.encode(leaf, np.array([[value]], np.float32), is_action=True)
        logits[0, int(tokens.item()) - ids.start] = 0.0
    values = torch.from_numpy(tokenizer.bin_values(leaf)).float()
    mean = int(sample(logits, Sampling(continuous="mean"), values=values)) + ids.start
    assert tokenizer.decode(leaf, np.array([mean]), is_action=True).item() == pytest.approx(5, 0.02)


def test_an_agent_acts_as_it_keeps_it_for_the_task_unless_told_otherwise():
    spec = spec_of(spaces.Discrete(3), spaces.Box(-1, 1, (1,)))
    agent = tiny_agent({"move": spec})
    task = AgentTask(spec=spec, sampling=Sampling(continuous="mean"))
    agent = dataclasses.replace(agent, tasks={"move": task})

    def acts(sampling, seed):
        inference = InferenceConfig(sampling=sampling, seed=seed, precision="fp32")
        return float(Policy(agent, task="move", inference=inference).select_action(1)[0])

    assert len({acts(None, seed) for seed in range(9)}) == 1
    assert len({acts(Sampling(), seed) for seed in range(9)}) > 1
