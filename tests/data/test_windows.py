"""Windows: whole timesteps, prompts, documents in one stream, faults by name."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from mugato.data.cache import ByteCache
from mugato.data.source import EpisodeList, Source
from mugato.data.windows import WindowConfig, windows_of
from mugato.episode import Episode, text_leaf
from mugato.tokens.sequence import ACTION_POSITION, encode
from tests.agents import random_episode
from tests.data.test_mixture import (
    TOKENIZER,
    all_ids,
    control_source,
    make_windows,
    text_source,
)


def draw(windows, item, generator):
    window = windows.sample(item, generator)
    s = windows.encode(window)
    assert len(s) == len(window)  # what packing relies on
    return s


def test_windows_hold_whole_timesteps_and_fit():
    source = control_source("long", 6, 50)
    (windows,) = make_windows([source])
    generator = np.random.default_rng(0)
    starts = set()
    for i in range(40):
        s = draw(windows, windows.item_of(i % len(windows)), generator)
        assert len(s) <= 64 and len(s) % 8 == 0
        starts.add(s.ids[:6].tobytes())
    assert len(starts) > 20  # drawn anew, not cut at fixed places


def test_draws_cover_every_timestep_to_the_last():
    source = control_source("long", 6, 50)
    (windows,) = make_windows([source])
    generator = np.random.default_rng(0)
    first = source[0].observations["observation"]
    sequences = [draw(windows, 0, generator) for _ in range(200)]
    drawn = {s.ids[i : i + 6].tobytes() for s in sequences for i in range(0, 64, 8)}
    every = {
        encode(source[0].window(t, t + 1), source.spec, TOKENIZER).ids[:6].tobytes()
        for t in range(len(first))
    }
    assert every <= drawn


def test_text_windows_cover_the_stream_and_end_documents():
    (windows,) = make_windows([text_source()])
    generator = np.random.default_rng(0)
    drawn = [draw(windows, windows.item_of(i % len(windows)), generator) for i in range(100)]
    assert all(len(s) == 64 and s.loss_mask.sum() == 63 for s in drawn)
    end = TOKENIZER.text.end_of_text
    assert any((s.ids == end).any() for s in drawn)


def test_a_timestep_longer_than_the_context_is_refused_by_name():
    source = control_source("arm", 40, 3)
    with pytest.raises(ValueError, match="'arm', every episode: one timestep takes 42 tokens, but"):
        make_windows([source], length=32)


def test_a_mission_longer_than_the_context_is_refused_by_name():
    (windows,) = make_windows([mission_source(["go", "go to the red ball " * 20])])
    with pytest.raises(ValueError, match="source 'missions', episode 1: one timestep takes"):
        windows.sample(1, np.random.default_rng(0))


def test_an_observation_of_more_tokens_than_positions_is_refused_by_name():
    make_windows([control_source("arm", 511, 3)], length=1024)  # and the separator
    message = "'arm', every episode: an observation takes 513 tokens, but there are 512 local pos"
    with pytest.raises(ValueError, match=message):
        make_windows([control_source("arm", 512, 3)], length=1024)


def test_a_mission_of_more_tokens_than_positions_is_refused_by_name():
    (windows,) = make_windows([mission_source(["go", "Z?" * 260])], length=1024)
    windows.sample(0, np.random.default_rng(0))
    message = r"'missions', episode 1: an observation takes \d+ tokens, but there are 512 local"
    with pytest.raises(ValueError, match=message):
        windows.sample(1, np.random.default_rng(0))


def test_more_discrete_values_than_ids_are_refused_by_name():
    vocab = dataclasses.replace(TOKENIZER.vocab, num_discrete=8)
    tokenizer = dataclasses.replace(TOKENIZER, vocab=vocab)
    for count in (8, 9):
        episode, spec = random_episode(spaces.Box(-1, 1), spaces.MultiDiscrete([2, count]), 3)
        source = EpisodeList(name="keys", spec=spec, episodes=[episode])
        if count == 8:
            windows_of(source, tokenizer, WindowConfig(context_length=64))
            continue
        message = "'keys', 'action': 9 discrete values, but the vocabulary has ids for 8"
        with pytest.raises(ValueError, match=message):
            windows_of(source, tokenizer, WindowConfig(context_length=64))
        with pytest.raises(ValueError, match="9 discrete values"):
            encode(episode, spec, tokenizer)
        with pytest.raises(ValueError, match="9 discrete values"):
            tokenizer.legal_ids(spec.action_leaves["action"], 0)


def test_text_windows_are_runs_of_the_documents_ids_that_start_anywhere():
    words = np.random.default_rng(0).choice(["go", "red", "ball", "key", "box"], 600)
    texts = [" ".join(words[start : start + 200]) for start in (0, 200, 400)]
    episodes = [Episode(observations={}, actions={"text": text_leaf(text)}) for text in texts]
    source = EpisodeList(name="text", spec=text_source().spec, episodes=episodes)
    (windows,) = make_windows([source])
    ids = all_ids(source).astype(np.int32)
    circle = np.concatenate([ids, ids])
    places = {circle[i : i + 64].tobytes(): i for i in range(len(ids))}
    generator = np.random.default_rng(0)
    starts = [
        places[draw(windows, windows.item_of(i % len(windows)), generator).ids.tobytes()]
        for i in range(300)
    ]
    assert len(set(starts)) > 150


def test_a_stream_shorter_than_the_context_is_drawn_whole():
    spec = text_source().spec
    episodes = [Episode(observations={}, actions={"text": text_leaf(t)}) for t in ("go", "to the")]
    source = EpisodeList(name="tiny", spec=spec, episodes=episodes)
    (windows,) = make_windows([source])
    for seed in range(5):
        s = draw(windows, 0, np.random.default_rng(seed))
        assert sorted(s.ids) == sorted(all_ids(source))


def prompted(source, share=1.0, length=64, **options):
    (windows,) = make_windows([source], length, prompt_share=share, **options)
    return windows


def test_a_quarter_of_the_windows_begins_with_a_prompt_half_of_them_from_the_end():
    source, generator = control_source("long", 6, 50), np.random.default_rng(0)
    windows = prompted(source, 0.25)
    chosen = [windows.sample(i % 6, generator) for i in range(2000)]
    prompts = [window.spans[0] for window in chosen if len(window.spans) == 2]
    assert 0.22 < len(prompts) / len(chosen) < 0.28
    ends = np.mean([prompt.stop == 50 for prompt in prompts])
    assert 0.45 < ends < 0.6
    assert len({prompt.start for prompt in prompts}) > 40


def test_prompt_and_window_are_of_two_episodes_and_fit_together():
    source, generator = control_source("long", 6, 50), np.random.default_rng(0)
    windows = prompted(source)
    for i in range(60):
        window = windows.sample(i % 6, generator)
        prompt, run = window.spans
        assert prompt.episode != run.episode == i % 6
        assert 0 < (prompt.stop - prompt.start) * 8 <= 32
        assert len(window) == 64  # 8 tokens a timestep: nothing is wasted
        episodes = [source[r.episode].window(r.start, r.stop) for r in (prompt, run)]
        alone = [encode(episode, source.spec, TOKENIZER) for episode in episodes]
        s = windows.encode(window)
        for name in ("ids", "local_positions", "leaf_index"):
            together = np.concatenate([getattr(part, name) for part in alone])
            np.testing.assert_array_equal(getattr(s, name), together)
        assert not s.segments.any() and s.positions.tolist() == list(range(64))
        assert s.timesteps.tolist() == np.repeat(np.arange(8), 8).tolist()
        is_action = s.local_positions == ACTION_POSITION
        np.testing.assert_array_equal(s.loss_mask, np.append(is_action[1:], False))


def test_a_prompt_depends_on_the_generator_alone():
    source = control_source("long", 6, 50)
    first, second = prompted(source), prompted(source)
    for seed in range(20):
        chosen = [w.sample(2, np.random.default_rng(seed)) for w in (first, second)]
        assert chosen[0] == chosen[1]


def test_one_episode_or_a_limited_history_gives_no_prompts():
    long = control_source("long", 6, 50)
    alone = dataclasses.replace(long, episodes=long.episodes[:1])
    for source, history in ((alone, None), (long, 2)):
        windows, generator = prompted(source, history=history), np.random.default_rng(0)
        assert all(len(windows.sample(0, generator).spans) == 1 for _ in range(30))


def test_no_prompt_where_a_timestep_takes_more_than_half_of_the_context():
    source, generator = control_source("arm", 40, 5), np.random.default_rng(0)
    windows = prompted(source)
    assert all(len(windows.sample(i % 6, generator).spans) == 1 for i in range(30))


def mission_source(missions):
    space = spaces.Dict(mission=spaces.Text(60), place=spaces.Box(-1, 1, (2,)))
    episodes = []
    for seed, mission in enumerate(missions):
        episode, spec = random_episode(space, spaces.Discrete(2), 7, seed)
        texts = np.array([mission] * 7, dtype=object)
        observations = {**episode.observations, "mission": texts}
        episodes.append(dataclasses.replace(episode, observations=observations))
    return EpisodeList(name="missions", spec=spec, episodes=episodes)


def test_windows_with_missions_of_all_lengths_have_the_length_that_they_say():
    source = mission_source(["go", "go to the red ball", "go to the red ball now " * 2])
    windows, generator = prompted(source, 0.5), np.random.default_rng(0)
    for i in range(100):
        s = draw(windows, i % 3, generator)
        assert 0 < len(s) <= 64


class CountedReads(Source):
    """A source that notes which of its episodes were read."""

    def __init__(self, source, lengths):
        self.name, self.spec, self.read = source.name, source.spec, set()
        self._source, self.lengths = source, lengths

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        self.read.add(index)
        return self._source[index]


def test_a_source_that_knows_its_lengths_is_not_read_at_the_start():
    source = CountedReads(control_source("long", 6, 50), lengths=[50] * 6)
    (windows,) = make_windows([source])
    assert not source.read and len(windows) == 6 * 7 and windows.num_tokens == 6 * 400
    draw(windows, 3, np.random.default_rng(0))
    assert source.read == {3}


class ReadsWindows(CountedReads):
    """A source that gives some timesteps without the rest."""

    def window(self, index, start, stop):
        return self._source[index].window(start, stop)


def test_a_source_that_reads_windows_is_not_read_whole():
    source = ReadsWindows(control_source("long", 6, 50), lengths=[50] * 6)
    (windows,) = make_windows([source], prompt_share=0.5)
    (naive,) = make_windows([control_source("long", 6, 50)], prompt_share=0.5)
    for seed in range(20):
        s, expected = (draw(w, seed % 6, np.random.default_rng(seed)) for w in (windows, naive))
        np.testing.assert_array_equal(s.ids, expected.ids)
    assert not source.read


def test_pieces_come_from_each_episode_as_often_as_it_is_long():
    source = mission_source(["go"])
    (windows,) = make_windows([dataclasses.replace(source, episodes=[*source.episodes] * 3)], 32)
    items = [windows.item_of(i) for i in range(len(windows))]
    assert items == sorted(items) and set(items) == {0, 1, 2}


def broken(**changes):
    """Return the long source with one damaged episode, number 4."""
    source = control_source("long", 6, 50)
    episodes = list(source.episodes)
    episodes[4] = dataclasses.replace(episodes[4], name="file 9", **changes)
    return dataclasses.replace(source, episodes=episodes)


def with_nan():
    observed = control_source("long", 6, 50)[4].observations["observation"].copy()
    observed[7, 2] = np.nan
    return broken(observations={"observation": observed})


FAULTS = {
    "NaN": (with_nan(), "observation 'observation' at timestep 7 holds NaN"),
    "space": (
        broken(observations={"observation": np.zeros((50, 5), np.float32)}),
        r"observation 'observation': shape \(5,\), expected \(6,\)",
    ),
    "leaf": (broken(observations={}), r"observation leaves \[\], expected \['observation'\]"),
    "action": (broken(actions={"action": np.full(50, 7)}), "at timestep 0 is outside"),
    "empty": (
        broken(
            observations={"observation": np.zeros((0, 6), np.float32)},
            actions={"action": np.zeros(0, np.int64)},
        ),
        "no timesteps",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_error_that_names_source_and_episode(fault):
    source, message = FAULTS[fault]
    with pytest.raises(ValueError, match=f"source 'long', episode 4: file 9: .*{message}"):
        (windows,) = make_windows([source])
        draw(windows, 4, np.random.default_rng(0))


@pytest.mark.parametrize("lengths", [None, [50] * 6])
def test_a_fault_also_names_what_the_run_calls_the_source(lengths):
    config = WindowConfig(context_length=64, name="walk")
    with pytest.raises(ValueError, match=r"^data set 'walk': source 'long', episode 4: file 9: "):
        windows = windows_of(CountedReads(with_nan(), lengths), TOKENIZER, config)
        assert lengths is not None
        draw(windows, 4, np.random.default_rng(0))
    documents = dataclasses.replace(text_source(), episodes=[Episode(observations={}, actions={})])
    with pytest.raises(ValueError, match=r"^data set 'walk': source 'text', episode 0: "):
        windows_of(documents, TOKENIZER, config)


def test_lengths_that_are_not_those_of_the_episodes_are_refused():
    source = CountedReads(control_source("long", 6, 50), lengths=[50, 49, 50, 50, 50, 50])
    (windows,) = make_windows([source])
    with pytest.raises(ValueError, match="episode 1: 50 timesteps, but its source says 49"):
        draw(windows, 1, np.random.default_rng(0))


def test_a_source_without_episodes_is_refused():
    source = dataclasses.replace(control_source("long", 6, 50), episodes=[])
    with pytest.raises(ValueError, match="source 'long' has no episodes"):
        make_windows([source])


def test_episodes_of_one_timestep_are_windows_like_any_other():
    (windows,) = make_windows([control_source("blink", 6, 1)], prompt_share=1.0)
    s = draw(windows, 2, np.random.default_rng(0))
    assert len(s) == 16 and s.timesteps.max() == 1  # a prompt and the episode


def test_a_byte_cache_forgets_what_was_not_asked_for_the_longest():
    cache, made = ByteCache(max_bytes=24), []

    def get(key):
        return cache.get(key, lambda: made.append(key) or np.zeros(1))

    for key in (1, 2, 3, 1, 4, 1, 2):
        get(key)
    assert made == [1, 2, 3, 4, 2] and cache.num_bytes == 24
    cache.get("large", lambda: np.zeros(100))
    assert cache.num_bytes == 800


def test_a_share_of_the_tokens_is_of_timesteps_that_stand_alone():
    source = control_source("long", 6, 50)
    config = WindowConfig(context_length=64, history_dropout=0.5)
    windows, generator = windows_of(source, TOKENIZER, config), np.random.default_rng(0)
    lengths = [len(windows.sample(i % 6, generator)) for i in range(2000)]
    alone = sum(n for n in lengths if n == 8)
    assert set(lengths) == {8, 64}
    assert alone / sum(lengths) == pytest.approx(0.5, abs=0.05)
    starts = {windows.sample(0, generator).spans[0].start for _ in range(500)}
    assert starts == set(range(50))


def test_a_limited_history_is_not_dropped():
    source = control_source("long", 6, 50)
    config = WindowConfig(context_length=64, history_dropout=0.5, history=2)
    windows, generator = windows_of(source, TOKENIZER, config), np.random.default_rng(0)
    assert {len(draw(windows, 0, generator)) for _ in range(50)} == {16}


def test_prompts_as_in_acting_are_beginnings_and_what_is_still_remembered_of_them():
    source = control_source("long", 6, 50)  # timesteps of 8 tokens: 8 of them fit
    config = WindowConfig(context_length=64, prompt_share=1.0, acting_prompt_share=1.0)
    windows, generator = windows_of(source, TOKENIZER, config), np.random.default_rng(0)
    lengths = set()
    for i in range(100):
        window = windows.sample(i % 6, generator)
        *prompt, own = window.spans
        assert (own.episode, own.start) == (i % 6, 0)
        lengths.add(own.stop)
        if own.stop < 8:
            assert prompt[0].episode != own.episode
            assert (prompt[0].start, prompt[0].stop) == (own.stop, 8)
        assert len(windows.encode(window)) == len(window) == 64
    assert lengths == set(range(1, 9))


def test_a_share_of_the_prompts_is_as_in_acting():
    source = control_source("long", 6, 50)
    config = WindowConfig(context_length=64, prompt_share=0.5, acting_prompt_share=0.5)
    windows, generator = windows_of(source, TOKENIZER, config), np.random.default_rng(0)
    drawn = [windows.sample(i % 6, generator).spans for i in range(2000)]
    begun = sum(len(s) == 2 and s[1].start == 0 and s[0].stop == 8 for s in drawn)
    prompted = sum(len(s) == 2 for s in drawn)
    assert begun / prompted == pytest.approx(0.47, abs=0.05)  # one in eight has no room for one
