"""Bits per byte, against a loop that scores one token at a time."""

import bz2
import math

import numpy as np
import pytest
import torch

from mugato.evaluation.text import (
    bits_per_byte,
    bz2_bits_per_byte,
    scored_windows,
    unigram_bits_per_byte,
)
from mugato.spec import Leaf, Spec
from mugato.tokens.packing import pack
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import text_timesteps
from tests.agents import TEXTS, tiny_agent

PROSE = Spec(observation={}, action={"text": Leaf(kind="text", dtype="str")})
TEXT = "go to the ball. Über the red key, to the box! " * 6


@pytest.fixture(scope="module")
def agent():
    return tiny_agent({"prose": PROSE}, context_length=16)


def stream_of(agent, text):
    return [agent.tokenizer.text.end_of_text, *agent.tokenizer.text.encode(text).tolist()]


@pytest.mark.parametrize("characters", [1, 7, 40, len(TEXT)])
def test_bits_equal_those_of_scoring_one_token_at_a_time(agent, characters):
    text = TEXT[:characters]
    ids, length = stream_of(agent, text), agent.model.config.context_length
    nats, start = 0.0, 0
    for i in range(1, len(ids)):
        if i == start + length:  # the window is full: its second half becomes the next one's first
            start += length // 2
        s = sequence(text_timesteps(ids[start:i]), agent.tokenizer.vocab)
        with torch.inference_mode():
            hidden = agent.model.hidden(pack([s], length=len(s)).inputs)[0][0, -1]
            logits = agent.model.logits(hidden, range(agent.tokenizer.vocab.size))
            nats -= float(torch.log_softmax(logits.double(), dim=-1)[ids[i]])
    expected = nats / math.log(2) / len(text.encode())
    assert bits_per_byte(agent, [text]) == pytest.approx(expected, rel=1e-5)


def test_every_token_is_scored_once_and_with_half_a_context_before_it(agent):
    ids, length = stream_of(agent, TEXT), agent.model.config.context_length
    scored = []
    for number, window in enumerate(scored_windows(agent, TEXT)):
        start = number * (length // 2)
        assert window.ids.tolist() == ids[start : start + length]
        places = np.flatnonzero(window.loss_mask)
        assert number == 0 or places.min() >= length // 2 - 1
        scored += [start + place + 1 for place in places]
    assert scored == list(range(1, len(ids)))


def test_changing_what_follows_changes_no_score(agent):
    """Teacher-forced: nothing that the agent itself would have written comes in."""
    start, rest = TEXT[:40], TEXT[40:]
    short, long = (bits_per_byte(agent, [t]) * len(t.encode()) for t in (start, start + rest))
    assert short < long


def test_documents_are_scored_each_by_itself(agent):
    parts = [TEXT[:40], TEXT[40:100]]
    bits = [bits_per_byte(agent, [part]) * len(part.encode()) for part in parts]
    whole = sum(len(part.encode()) for part in parts)
    assert bits_per_byte(agent, parts) == pytest.approx(sum(bits) / whole, rel=1e-5)


def test_an_empty_text_is_refused(agent):
    with pytest.raises(ValueError, match="empty text"):
        bits_per_byte(agent, [""])


def test_bz2_counts_every_byte_of_the_archive():
    text = "Ünder the greenwood tree\n" * 20
    assert bz2_bits_per_byte(text) == 8 * len(bz2.compress(text.encode(), 9)) / len(text.encode())


def test_the_unigram_model_smooths_by_one(agent):
    tokenizer = agent.tokenizer.text
    trained, held_out = " ".join(TEXTS), "go to the moon"
    ids = tokenizer.encode(trained).tolist()
    total = len(ids) + tokenizer.num_pieces
    bits = [-math.log2((ids.count(i) + 1) / total) for i in tokenizer.encode(held_out).tolist()]
    found = unigram_bits_per_byte([held_out], training_texts=[trained], tokenizer=tokenizer)
    assert found == pytest.approx(sum(bits) / len(held_out.encode()))
