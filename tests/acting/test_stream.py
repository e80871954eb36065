"""Rows that grow together, each as if it were alone; and never an illegal action."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.acting.stream import CHUNK, TokenStream
from mugato.agent import GREEDY, Sampling
from mugato.spec import spec_of
from mugato.system.threads import threads
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import text_timesteps
from tests.agents import tiny_agent
from tests.spaces_list import SPACES

KINDS = [
    "rotary",
    *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("transformer-xl", "recurrent")),
]
ACTIONS = [name for name in SPACES if name not in ("text", "nested")]


def make_agent(**changes):
    return tiny_agent({"task": spec_of(spaces.Box(-1, 1, (1,)), spaces.Discrete(2))}, **changes)


def read(stream, agent, rows):
    """Let each row read a text of ids of its own."""
    ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    stream.prefill(sequence(text_timesteps(ids), agent.tokenizer.vocab), numbers)


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_different_lengths_that_begin_anew_are_each_as_alone(kind):
    agent = make_agent(sequence_model=kind, context_length=32)
    generator = np.random.default_rng(0)
    legal = agent.tokenizer.text_ids
    together = TokenStream(agent.model, num_rows=3)
    alone = [TokenStream(agent.model, num_rows=1) for _ in range(3)]
    blank = TokenStream(agent.model, num_rows=1)
    for turn in range(30):  # some 150 tokens a row: five times round the ring
        rows = [generator.choice(legal, generator.integers(1, 9)) for _ in range(3)]
        read(together, agent, rows)
        for stream, row in zip(alone, rows, strict=True):
            read(stream, agent, [row])
        for _ in range(2):
            chosen = together.decode(legal, GREEDY).tolist()
            assert chosen == [int(stream.decode(legal, GREEDY)) for stream in alone]
        if turn % 20 == 7:
            marked = torch.arange(3) == turn % 3
            together.copy_rows_from(blank, marked)
            alone[turn % 3] = TokenStream(agent.model, num_rows=1)


@pytest.mark.thorough
@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_read_at_once_equals_one_read_token_by_token(kind):
    agent = make_agent(sequence_model=kind, context_length=256)
    ids = np.random.default_rng(0).choice(agent.tokenizer.text_ids, 3 * CHUNK + 5)
    at_once, slowly = (TokenStream(agent.model, num_rows=1) for _ in range(2))
    read(at_once, agent, [ids])
    for i in ids:
        read(slowly, agent, [[i]])
    torch.testing.assert_close(at_once._last, slowly._last, atol=1e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize(("one_thread", "expected"), [(10**9, 1), (0, 2)])
def test_what_is_little_is_computed_by_one_thread(one_thread, expected, monkeypatch):
    """Beside one busy process two threads took ten times as long as one."""
    monkeypatch.setattr("mugato.acting.stream.ONE_THREAD", one_thread)
    agent, seen = make_agent(), []
    agent.model.sequence_model.register_forward_hook(
        lambda *_: seen.append(torch.get_num_threads())
    )
    with threads(2):
        stream = TokenStream(agent.model, num_rows=1)
        stream.prefill(sequence(text_timesteps([5, 6, 7]), agent.tokenizer.vocab))
        stream.decode(range(9), GREEDY)
        stream.decode(range(9), GREEDY)
        assert torch.get_num_threads() == 2
    assert set(seen) == {expected}


def test_nothing_can_be_decoded_from_nothing():
    agent = make_agent()
    with pytest.raises(ValueError, match="nothing was read yet"):
        TokenStream(agent.model, num_rows=1).decode(agent.tokenizer.text_ids, GREEDY)


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")  # Gymnasium's own, of ()
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", ACTIONS)
def test_of_100_000_sampled_actions_none_is_invalid(name, precision):
    space, seen = SPACES[name], spaces.Box(-1, 1, (1,))
    num_rows, steps = -(-100_000 // (2 * len(ACTIONS) * 5)), 5
    agent = tiny_agent({"task": spec_of(seen, space)}, context_length=32)
    inference = InferenceConfig(sampling=Sampling(temperature=3.0), precision=precision)
    policy = BatchPolicy(agent, task="task", num_rows=num_rows, inference=inference)
    generator, batched = np.random.default_rng(0), batch_space(space, num_rows)
    for _ in range(steps):
        values = generator.uniform(-1, 1, (num_rows, 1)).astype(np.float32)
        actions = list(iterate(batched, policy.select_action(values)))
        invalid = [action for action in actions if not space.contains(action)]
        assert not invalid and len(actions) == num_rows
