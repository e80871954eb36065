"""Mixing: shares, microbatches and shards, and a state that says it all."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.data.mixture import MAX_WAITING, NUM_SHARDS, MicrobatchState, Mixture, shares
from mugato.data.source import EpisodeList
from mugato.data.windows import Window, WindowConfig, Windows, windows_of
from mugato.episode import Episode, text_leaf
from mugato.spec import Leaf, Spec
from mugato.system.typed_json import from_json
from tests.agents import random_episode, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def control_source(name, size, timesteps):
    space = spaces.Box(-1, 1, (size,))
    pairs = [random_episode(space, spaces.Discrete(2), timesteps, seed) for seed in range(6)]
    return EpisodeList(name=name, spec=pairs[0][1], episodes=[episode for episode, _ in pairs])


def text_source(name="text"):
    spec = Spec(observation={}, action={"text": Leaf(kind="text", dtype="str")})
    texts = [" ".join(["go to the red ball"] * n) for n in (3, 40, 200)]
    episodes = [
        Episode(observations={}, actions={"text": text_leaf(text)}, name=f"text {i}")
        for i, text in enumerate(texts)
    ]
    return EpisodeList(name=name, spec=spec, episodes=episodes)


def all_ids(source):
    """Every id of a source of text, documents in their order."""
    end = [TOKENIZER.text.end_of_text]
    texts = [str(source[i].actions["text"][0]) for i in range(len(source))]
    return np.concatenate([[*TOKENIZER.text.encode(text), *end] for text in texts])


def make_windows(sources, length=64, **options):
    return [
        windows_of(source, TOKENIZER, WindowConfig(context_length=length, number=i, **options))
        for i, source in enumerate(sources)
    ]


def make_mixture(weights=None, num_microbatches=2, seed=0, length=64, num_rows=8):
    sources = [control_source("short", 2, 5), control_source("long", 6, 50), text_source()]
    weights = weights or {"short": 1.0, "long": 2.0, "text": 1.0}
    return Mixture(
        make_windows(sources, length), weights=weights, num_rows=num_rows, row_length=length,
        num_microbatches=num_microbatches, seed=seed,
    )  # fmt: skip


def equal(a, b):
    pairs = zip(tensors(a), tensors(b), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def tensors(batch):
    return [*vars(batch.inputs).values(), *vars(batch.targets).values()]


def take(mixture, count, microbatch=0, state=None):
    """Return the next batches of a microbatch, and the state after them."""
    state, batches = state or mixture.start()[microbatch], []
    for _ in range(count):
        batch, state = mixture.batch(microbatch, state)
        batches.append(batch)
    return batches, state


def token_shares(mixture, batches):
    sources = np.concatenate([b.targets.sources[b.inputs.segments > 0].numpy() for b in batches])
    counts = np.bincount(sources, minlength=len(mixture.names))
    return counts / counts.sum()


@pytest.mark.thorough
def test_weights_are_shares_of_the_tokens_within_one_percent():
    asked = {"short": 0.012, "long": 0.608, "text": 0.38}
    mixture = make_mixture(asked, num_rows=2)
    batches = [b for microbatch in range(2) for b in take(mixture, 500, microbatch)[0]]
    np.testing.assert_allclose(token_shares(mixture, batches), list(asked.values()), atol=0.01)


def test_every_stretch_of_batches_holds_the_weights_and_lanes_are_not_in_step():
    mixture = make_mixture(
        {"short": 0.02, "long": 0.49, "text": 0.49}, num_microbatches=1, num_rows=2
    )
    batches, _ = take(mixture, 80)
    for start in (0, 40):
        got = token_shares(mixture, batches[start : start + 40])
        np.testing.assert_allclose(got, [0.02, 0.49, 0.49], atol=0.02)
    shown = [
        bool((b.targets.sources[b.inputs.segments > 0] == 0).any()) for b in batches[:NUM_SHARDS]
    ]
    assert len({state.tokens for state in mixture.start()[0].shards}) == NUM_SHARDS
    assert not all(shown)


def test_uniform_and_by_tokens():
    sources = [control_source("short", 2, 5), control_source("long", 6, 50), text_source()]
    windows = make_windows(sources)
    assert shares("uniform", windows) == dict.fromkeys(("short", "long", "text"), 1 / 3)
    by_tokens = shares("by_tokens", windows)
    tokens = [6 * 5 * 4, 6 * 50 * 8, len(all_ids(sources[2]))]
    np.testing.assert_allclose(list(by_tokens.values()), np.array(tokens) / sum(tokens), rtol=0.02)


def test_a_weight_of_zero_leaves_a_source_out():
    mixture = make_mixture({"short": 0.0, "long": 1.0, "text": 1.0})
    assert token_shares(mixture, take(mixture, 5)[0])[0] == 0


def test_a_batch_depends_on_its_state_alone():
    first, second = make_mixture(), make_mixture()
    _, state = take(first, 5)
    assert equal(first.batch(0, state)[0], second.batch(0, state)[0])


def test_a_state_survives_json():
    _, state = take(make_mixture(), 3)
    read = json.loads(json.dumps(dataclasses.asdict(state)))
    assert from_json(MicrobatchState, read, "state") == state


def test_a_state_of_other_sources_is_refused():
    _, state = take(make_mixture(), 1)
    windows = make_windows([control_source("short", 2, 5)])
    other = Mixture(
        windows, weights="uniform", num_rows=8, row_length=64, num_microbatches=2, seed=0
    )
    with pytest.raises(ValueError, match="state is that of 3 sources, the mixture has 1: short"):
        other.batch(0, state)


def test_parts_and_lanes_share_an_epoch_out_disjointly_and_completely():
    windows = Numbered(make_windows([control_source("long", 6, 50)])[0])
    mixture = Mixture(
        [windows], weights={"long": 1.0}, num_rows=4, row_length=64, num_microbatches=2, seed=0
    )
    num_shards = 2 * NUM_SHARDS
    per_shard = -(-len(windows) // num_shards)
    drawn = {
        (microbatch, shard): [
            mixture.window(microbatch, shard, 0, n).num_tokens for n in range(per_shard)
        ]
        for microbatch in range(2)
        for shard in range(NUM_SHARDS)
    }
    first_epoch = len(windows) - (per_shard - 1) * num_shards  # shards that draw `per_shard` of it
    items = [
        item
        for shard, numbers in enumerate(drawn.values())
        for item in numbers[: per_shard if shard < first_epoch else per_shard - 1]
    ]
    assert sorted(items) == list(range(len(windows)))
    assert items != sorted(items)


class Numbered(Windows):
    """Windows whose length tells which one they are."""

    def __init__(self, windows):
        self.name, self.num_tokens, self._windows = windows.name, windows.num_tokens, windows

    def __len__(self):
        return len(self._windows)

    def item_of(self, index):
        return index

    def sample(self, item, generator):
        return Window(spans=(), num_tokens=item)

    def encode(self, window):
        raise AssertionError("nothing is encoded before it has its place")


def test_what_was_used_of_a_lane_has_no_gaps():
    mixture = make_mixture()
    _, state = take(mixture, 12)
    for shard in state.shards:
        assert all(number < shard.taken[source] for source, number, _ in shard.waiting)
        assert len(set(shard.waiting)) == len(shard.waiting) <= MAX_WAITING


def test_an_epoch_of_a_source_covers_every_episode():
    windows = make_windows([control_source("short", 2, 5)])
    mixture = Mixture(
        windows, weights={"short": 1.0}, num_rows=2, row_length=64, num_microbatches=1, seed=0
    )
    drawn = [mixture.window(0, shard, 0, n) for n in range(2) for shard in range(NUM_SHARDS)]
    assert {window.spans[0].episode for window in drawn[:6]} == set(range(6))


@pytest.mark.parametrize("num_microbatches", [pytest.param(1, marks=pytest.mark.thorough), 4])
def test_batches_are_full_but_for_two_percent(num_microbatches):
    batches, _ = take(make_mixture(num_microbatches=num_microbatches), 24)
    assert np.mean([float((b.inputs.segments > 0).float().mean()) for b in batches[8:]]) > 0.98


def test_wrong_weights_list_the_right_names():
    with pytest.raises(ValueError, match="weights must name the sources"):
        make_mixture(weights={"shrt": 1.0, "long": 1.0, "text": 1.0})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"short": -1.0, "long": 1.0, "text": 1.0}, "weight of 'short' must be a number from 0"),
        ({"short": float("nan"), "long": 1.0, "text": 1.0}, "weight of 'short' must be a number"),
        ({"short": 0.0, "long": 0.0, "text": 0.0}, "all weights are 0"),
        ("by_token", "weights are by name, 'uniform' or 'by_tokens', not 'by_token'"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        make_mixture(weights)


def test_two_sources_of_one_name_are_refused():
    twins = make_windows([text_source(), text_source()])
    with pytest.raises(ValueError, match="two sources have the same name"):
        shares("uniform", twins)
