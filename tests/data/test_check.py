"""Episodes that are sound pass; every fault is named with its episode and timestep."""

import dataclasses

import numpy as np
import pytest

from mugato.data.check import SourceCheck
from mugato.data.source import EpisodeList
from mugato.data.summary import summarize
from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.sequence import encode
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer

SPEC = Spec(
    observation={
        "words": Leaf(kind="text", dtype="str"),
        "gray": Leaf(kind="image", shape=(20, 30), dtype="uint8"),
        "color": Leaf(kind="image", shape=(3, 20, 30), dtype="uint8", channels_first=True),
        "counts": Leaf(
            kind="discrete", shape=(2,), dtype="int64", low=(0.0, -1.0), high=(3.0, 5.0)
        ),
        "wide": Leaf(kind="continuous", shape=(2, 2), low=(-1.0,) * 4, high=(1.0,) * 4),
        "whole": Leaf(kind="continuous", dtype="int32", low=(-np.inf,), high=(np.inf,)),
    },
    action={
        "move": Leaf(kind="continuous", shape=(3,), low=(-1.0, 0.0, 5.0), high=(1.0, 400.0, 5.0)),
        "say": Leaf(kind="text", dtype="str"),
    },
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(text=TextTokenizer.paper())


def episode(timesteps: int = 5, seed: int = 0) -> Episode:
    rng = np.random.default_rng(seed)
    texts = np.array([f"word {'x' * t}▁\n" for t in range(timesteps)], dtype=object)
    return Episode(
        observations={
            "words": texts,
            "gray": rng.integers(256, size=(timesteps, 20, 30), dtype=np.uint8),
            "color": rng.integers(256, size=(timesteps, 3, 20, 30), dtype=np.uint8),
            "counts": rng.integers([0, -1], [4, 6], size=(timesteps, 2)),
            "wide": rng.normal(size=(timesteps, 2, 2)).astype(np.float32) * 20,  # out of bounds
            "whole": rng.integers(-200, 200, size=timesteps, dtype=np.int32),
        },
        actions={
            "move": rng.uniform([-1, 0, 5], [1, 400, 5], (timesteps, 3)).astype(np.float32),
            "say": texts,
        },
        rewards=np.ones(timesteps, np.float32),
        name=f"episode of seed {seed}",
    )


def source(*episodes: Episode) -> EpisodeList:
    return EpisodeList(name="mine", spec=SPEC, episodes=episodes)


@pytest.mark.parametrize("seed", range(5))
def test_sound_episodes_pass(tokenizer, seed):
    made = episode(seed=seed)
    assert SourceCheck(source(made), tokenizer).episode(0) is made


def test_shrunk_pictures_are_no_fault(tokenizer):
    small = dataclasses.replace(tokenizer, image=ImageTokenizer(max_patches=1))
    SourceCheck(source(episode()), small).episode(0)


def with_value(path: str, timestep: int, value) -> Episode:
    made = episode()
    {**made.observations, **made.actions}[path][timestep] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("wide", np.nan, "observation 'wide' at timestep 3 holds NaN"),
        ("counts", 4, r"observation 'counts' at timestep 3 is outside"),
        ("words", None, "observation 'words' at timestep 3 is not a string"),
        ("words", "half \ud83d", "'words' cannot be tokenised: .*surrogate"),
        ("move", 500.0, "action 'move' at timestep 3 is outside"),
    ],
)
def test_faults_are_named_with_episode_and_timestep(tokenizer, path, value, message):
    bad = with_value(path, 3, value)
    with pytest.raises(ValueError, match=rf"mine, episode 1: .*{message}"):
        SourceCheck(source(episode(), bad), tokenizer).episode(1)


def test_rewards_are_looked_at(tokenizer):
    for rewards, message in (
        (np.array([0, 1, np.nan, 0, 0]), "reward at timestep 2 is not finite: nan"),
        (np.zeros(4), "4 rewards, but 5 timesteps"),
    ):
        bad = dataclasses.replace(episode(), rewards=rewards.astype(np.float32))
        with pytest.raises(ValueError, match=message):
            SourceCheck(source(bad), tokenizer).episode(0)


def test_a_tokenizer_that_loses_a_picture_is_found_out(tokenizer):
    class Forgetful(ImageTokenizer):
        def encode(self, images):
            patches = super().encode(images).copy()
            patches[2, 0, 0] ^= 1
            return patches

    broken = dataclasses.replace(tokenizer, image=Forgetful())
    with pytest.raises(ValueError, match="at timestep 2 does not come back"):
        SourceCheck(source(episode()), broken).episode(0)


@pytest.mark.parametrize("count", [3, 100])
def test_counts_are_those_of_training(tokenizer, count):
    episodes = [episode(timesteps=1 + i % 4, seed=i) for i in range(count)]
    found = summarize(source(*episodes), tokenizer)
    assert found.exact and found.episodes == count
    assert found.timesteps == sum(map(len, episodes))
    assert found.tokens == sum(len(encode(e, SPEC, tokenizer)) for e in episodes)


def test_estimates_of_many_texts_are_close_and_say_so(tokenizer):
    class WithLengths(EpisodeList):
        @property
        def lengths(self) -> tuple[int, ...]:
            return tuple(map(len, self.episodes))

    episodes = [episode(timesteps=1 + i % 4, seed=i) for i in range(200)]
    exact = summarize(source(*episodes), tokenizer)
    found = summarize(WithLengths(name="mine", spec=SPEC, episodes=episodes), tokenizer)
    assert not found.exact
    assert found.timesteps == exact.timesteps
    assert found.tokens == pytest.approx(exact.tokens, rel=0.02)
    assert found.num_bytes == pytest.approx(exact.num_bytes, rel=0.01)
