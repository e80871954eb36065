"""From a config to the mixture: prompts for control alone, weights for whoever has none."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from mugato.data.config import DatasetConfig
from mugato.data.source import EpisodeList
from mugato.spec import Leaf, Spec
from mugato.training.config import TokenizerConfig, TrainConfig
from mugato.training.setup import (
    MAX_TEXTS_OF_EPISODE,
    is_control,
    make_mixture,
    make_tokenizer,
    open_sources,
    saved_tokenizer,
    training_texts,
)
from tests.agents import random_episode, tiny_agent, tiny_config
from tests.data.test_mixture import TOKENIZER, control_source, text_source


def spoken_source(name):
    """Make a task whose actions are words."""
    pairs = [random_episode(spaces.Box(-1, 1, (3,)), spaces.Text(4), 30, n) for n in range(4)]
    return EpisodeList(name=name, spec=pairs[0][1], episodes=[episode for episode, _ in pairs])


def mixture(tmp_path, *, weights=None, **changes):
    datasets = [
        DatasetConfig(
            name=name,
            weight=(weights or {}).get(name, 1.0),
            demonstrations="theirs-v0" if name in ("walk", "talk") else None,
        )
        for name in ("walk", "talk", "caption", "text")
    ]
    sources = {
        "walk": control_source("walk", 2, 50),
        "talk": spoken_source("talk"),
        "caption": spoken_source("caption"),
        "text": text_source(),
    }
    config = TrainConfig(
        run=tmp_path, datasets=tuple(datasets), batch_rows=2, steps=1,
        model=tiny_config(TOKENIZER.vocab, context_length=128), **changes,
    )  # fmt: skip
    return make_mixture(config, sources, TOKENIZER)


def prompts(mixture):
    """How many of each source's first windows begin with a prompt."""
    return {
        name: sum(
            len({span.episode for span in mixture.window(0, 0, source, n).spans}) > 1
            for n in range(80)
        )
        for source, name in enumerate(mixture.names)
        if name != "text"
    }


def test_a_quarter_of_the_control_sequences_begins_with_a_prompt_and_no_caption(tmp_path):
    found = prompts(mixture(tmp_path))
    assert found["caption"] == 0
    assert 9 < found["walk"] < 32 and 9 < found["talk"] < 32


def test_prompts_can_be_left_out(tmp_path):
    assert set(prompts(mixture(tmp_path, prompt_share=0.0)).values()) == {0}


@pytest.mark.parametrize("changes", [{"mixing": "uniform", "weights": {"walk": 9.0}}, {}])
def test_data_sets_weigh_one(changes, tmp_path):
    made = mixture(tmp_path, **changes)
    (state, _), counts = made.start(), np.zeros(4)
    for _ in range(60):
        batch, state = made.batch(0, state)
        counts += np.bincount(batch.targets.sources[batch.inputs.segments > 0], minlength=4)
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)


def test_a_run_whose_source_looks_otherwise_is_not_resumed(tmp_path):
    config, walk = (
        TrainConfig(run=tmp_path, datasets=(DatasetConfig(name="walk"),), steps=1),
        control_source("walk", 2, 5),
    )
    agent = tiny_agent({"walk": walk.spec})
    with pytest.raises(ValueError, match="no mugato checkpoint"):
        saved_tokenizer(config, {"walk": walk})
    agent.save_pretrained(tmp_path)
    assert saved_tokenizer(config, {"walk": walk}) == agent.tokenizer
    message = r"the spec of 'walk' was .*shape=\(2,\).*but is now .*shape=\(3,\)"
    with pytest.raises(ValueError, match=message):
        saved_tokenizer(config, {"walk": control_source("walk", 3, 5)})


def told_source(tellings):
    """Play a game that tells something at every timestep; the mission stays."""
    space = spaces.Dict(told=spaces.Text(60), mission=spaces.Text(60))
    episodes = []
    for texts in tellings:
        episode, spec = random_episode(space, spaces.Discrete(2), len(texts))
        observations = {
            "told": np.array(texts, object),
            "mission": np.array(["find the jar"] * len(texts), object),
        }
        episodes.append(dataclasses.replace(episode, observations=observations))
    return EpisodeList(name="game", spec=spec, episodes=episodes)


def test_what_a_game_tells_later_is_learned_too_and_what_stays_once(tmp_path):
    rooms = ["kitchen", "pantry", "kitchen", "cellar"]
    assert [*training_texts({"game": told_source([rooms, ["attic"] * 30])})] == [
        "find the jar", "kitchen", "pantry", "cellar", "find the jar", "attic",
    ]  # fmt: skip
    long = told_source([[f"room {i}" for i in range(100)]])
    texts = [*training_texts({"game": long})]
    assert texts[:2] == ["find the jar", "room 0"] and len(texts) == 1 + MAX_TEXTS_OF_EPISODE


def test_text_alone_is_no_control():
    assert is_control(control_source("walk", 2, 5))
    assert not is_control(text_source())
    both = Spec(
        observation={},
        action={"say": Leaf(kind="text"), "go": Leaf(kind="discrete", low=(0.0,), high=(3.0,))},
    )
    assert is_control(EpisodeList(name="both", spec=both, episodes=[]))


@pytest.mark.thorough
def test_sources_keep_the_names_they_were_asked_for_by(tmp_path):
    (tmp_path / "play.txt").write_text("to be or not to be, that is the question. " * 50)
    text, questions = f"text:{tmp_path}", "easy-vqa?size_px=32"
    config = TrainConfig(
        datasets=(DatasetConfig(name=text, weight=3.0), DatasetConfig(name=questions)),
        tokenizer=TokenizerConfig(text_pieces=400, max_patches=16),
        steps=1,
    )
    sources = open_sources(config.datasets)
    assert sources[questions].spec.observation_leaves["image"].shape == (32, 32, 3)
    tokenizer = make_tokenizer(config.tokenizer, config.model, sources)
    mixture = make_mixture(config, sources, tokenizer)
    assert dict(zip(mixture.names, mixture.shares, strict=True)) == {text: 0.75, questions: 0.25}
