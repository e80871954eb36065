"""Mixing: shares, parts, resuming, and windows of whole timesteps."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.data.mixture import Mixture, PartState
from mugato.data.source import EpisodeList, text_leaf
from mugato.data.windows import windows_of
from mugato.episode import Episode
from mugato.sequence import encode
from mugato.spec import Leaf, Spec
from tests.agents import random_episode, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def control_source(name, size, timesteps):
    space = spaces.Box(-1, 1, (size,))
    pairs = [random_episode(space, spaces.Discrete(2), timesteps, seed) for seed in range(6)]
    return EpisodeList(name=name, spec=pairs[0][1], episodes=[episode for episode, _ in pairs])


def text_source(name="text"):
    spec = Spec(observation={}, action={"text": Leaf(kind="text", dtype="str")})
    texts = [" ".join(["go to the red ball"] * n) for n in (3, 40, 200)]
    episodes = [Episode(observations={}, actions={"text": text_leaf(text)}) for text in texts]
    return EpisodeList(name=name, spec=spec, episodes=episodes)


def make_windows(sources, length=64):
    return [
        windows_of(source, TOKENIZER, context_length=length, number=i)
        for i, source in enumerate(sources)
    ]


def make_mixture(weights=None, num_parts=2, seed=0, length=64):
    sources = [control_source("short", 2, 5), control_source("long", 6, 50), text_source()]
    weights = weights or {"short": 1.0, "long": 2.0, "text": 1.0}
    return Mixture(
        make_windows(sources, length), weights=weights, num_rows=8, row_length=length,
        num_parts=num_parts, seed=seed,
    )  # fmt: skip


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_weights_are_shares_of_the_tokens():
    mixture, tokens, state = make_mixture(num_parts=1), np.zeros(3), PartState()
    for _ in range(150):
        batch, state = mixture.batch(0, state)
        tokens += np.bincount(batch.sources[batch.segments > 0], minlength=3)
    np.testing.assert_allclose(tokens / tokens.sum(), [0.25, 0.5, 0.25], atol=0.02)


def test_a_batch_depends_on_its_state_alone():
    first, second = make_mixture(), make_mixture()
    state = first.start()[0]
    for _ in range(5):
        _, state = first.batch(0, state)
    assert equal(first.batch(0, state)[0], second.batch(0, state)[0])


def test_parts_never_draw_the_same_number_and_leave_none_out():
    drawn = {part: set() for part in range(2)}
    mixture = make_mixture()
    for part in drawn:
        state = PartState()
        for _ in range(10):
            _, state = mixture.batch(part, state)
        used = set(range(state.next)) - set(state.waiting)
        drawn[part] = {number * 2 + part for number in used}
    assert not drawn[0] & drawn[1]


def test_an_epoch_of_a_source_covers_every_episode():
    windows = make_windows([control_source("short", 2, 5)])
    weights = {"short": 1.0}
    mixture = Mixture(windows, weights=weights, num_rows=2, row_length=64, num_parts=1, seed=0)
    seen = {mixture.sequence(0, i).ids.tobytes() for i in range(len(windows[0]))}
    assert len(seen) == 6


def test_batches_are_nearly_full():
    mixture, state, fill = make_mixture(num_parts=1), PartState(), []
    for _ in range(20):
        batch, state = mixture.batch(0, state)
        fill.append(float((batch.segments > 0).float().mean()))
    assert np.mean(fill) > 0.95


def test_windows_hold_whole_timesteps_and_fit():
    source = control_source("long", 6, 50)
    (windows,) = make_windows([source])
    generator = np.random.default_rng(0)
    starts = set()
    for i in range(40):
        s = windows.draw(windows.item(i % len(windows)), generator)
        assert len(s) <= 64 and len(s) % 8 == 0
        starts.add(s.ids[:6].tobytes())
    assert len(starts) > 20  # drawn anew, not cut at fixed places


def test_draws_cover_every_timestep_to_the_last():
    source = control_source("long", 6, 50)
    (windows,) = make_windows([source])
    generator = np.random.default_rng(0)
    first = source[0].observations["observation"]
    drawn = {
        windows.draw(0, generator).ids[i : i + 6].tobytes()
        for _ in range(300)
        for i in range(0, 64, 8)
    }
    every = {
        encode(source[0].window(t, t + 1), source.spec, TOKENIZER).ids[:6].tobytes()
        for t in range(len(first))
    }
    assert every <= drawn


def test_text_windows_cover_the_stream_and_end_documents():
    (windows,) = make_windows([text_source()])
    generator = np.random.default_rng(0)
    drawn = [windows.draw(windows.item(i % len(windows)), generator) for i in range(100)]
    assert all(len(s) == 64 and s.loss_mask.sum() == 63 for s in drawn)
    end = TOKENIZER.text.end_of_text
    assert any((s.ids == end).any() for s in drawn)


def test_wrong_weights_list_the_right_names():
    with pytest.raises(ValueError, match="weights must name the sources"):
        make_mixture(weights={"shrt": 1.0, "long": 1.0, "text": 1.0})


def test_a_timestep_longer_than_the_context_is_refused_by_name():
    source = control_source("arm", 40, 3)
    (windows,) = make_windows([source], length=32)
    with pytest.raises(ValueError, match="one timestep takes 42 tokens, but the context holds 32"):
        windows.draw(0, np.random.default_rng(0))
