"""The modules that newcomers read first do what they say."""

import numpy as np
import pytest

from examples.four_rooms import four_rooms_episode, four_rooms_tokens
from examples.pointmaze import pointmaze_episode, rounding
from mugato.data.formats.minari.read import open_minari
from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.tasks.registry import get_task
from mugato.tokens.sequence import encode
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from tests.recording.recording import record


@pytest.fixture(autouse=True)
def minari_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(text=TextTokenizer.paper())


def test_a_four_rooms_episode_as_tokens(tokenizer):
    pytest.importorskip("minigrid")
    record(get_task("minigrid-four-rooms"), episodes=2, dataset="mine-v0")
    spec, episode = four_rooms_episode(1, dataset_id="mine-v0")
    tensors = four_rooms_tokens(spec, episode, tokenizer).tensors
    timesteps, pieces = len(episode), len(tokenizer.text.encode(episode.observations["mission"][0]))
    assert {name: tokens.shape for name, tokens in tensors.items()} == {
        "mission": (timesteps, pieces, 1),
        "image": (timesteps, 16, 768),
        "direction": (timesteps, 1, 1),
        "action": (timesteps, 1, 1),
    }
    assert len(encode(episode, spec, tokenizer)) == timesteps * (pieces + 19)
    discrete = tokenizer.vocab.discrete
    np.testing.assert_array_equal(
        tensors["action"][:, 0, 0] - discrete[0], episode.actions["action"]
    )
    assert set(tensors["direction"].flat) <= set(discrete[:4])


def test_a_pointmaze_episode_is_three_vectors_and_a_force(tokenizer):
    pytest.importorskip("gymnasium_robotics")
    record(get_task("pointmaze-umaze"), episodes=1, dataset="mine-v0")
    spec, episode = pointmaze_episode(dataset_id="mine-v0")
    assert list(spec.observation_leaves) == ["achieved_goal", "desired_goal", "observation"]
    assert spec == open_minari("mine").spec
    worst = rounding(spec, episode, tokenizer)
    assert 0 < worst["action"] <= 1 / 1024 + 1e-6
    for path, values in episode.observations.items():
        assert 0 < worst[path] <= 0.011 * np.abs(values).max()


@pytest.mark.thorough
@pytest.mark.parametrize("meters", [1.0, 10.0, 100.0])
def test_the_mu_law_loses_a_percent(tokenizer, meters):
    position = Leaf(kind="continuous", low=(-np.inf,), high=(np.inf,))
    force = Leaf(kind="continuous", low=(-1.0,), high=(1.0,))
    episode = Episode(
        observations={"x": np.linspace(0.98 * meters, meters, 3000)},
        actions={"action": np.linspace(-1, 1, 3000)},
    )
    worst = rounding(Spec(observation={"x": position}, action=force), episode, tokenizer)
    assert worst["x"] == pytest.approx(0.01 * meters, rel=0.05)
    assert worst["action"] == pytest.approx(1 / 1024, rel=0.01)
