"""What tokens lose is said, in the user's units; a fitted scale gives it back."""

import re

import numpy as np
import pytest
from gymnasium import spaces

from mugato.data.round_trip import sample_warnings
from mugato.data.scaling import ScaledSource
from mugato.data.source import EpisodeList
from mugato.episode import Episode
from mugato.spec import spec_of
from mugato.spec_json import spec_from_json, spec_to_json
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer

INF = np.inf


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(text=TextTokenizer.paper())


def source_of(values: np.ndarray, space: spaces.Box) -> EpisodeList:
    spec = spec_of(spaces.Dict(x=space), spaces.Discrete(2))
    actions = {"action": np.zeros(len(values), np.int64)}
    episode = Episode(observations={"x": values.astype(space.dtype)}, actions=actions)
    return EpisodeList(name="mine", spec=spec, episodes=[episode])


def unbounded(values: np.ndarray) -> EpisodeList:
    return source_of(values, spaces.Box(-INF, INF, values.shape[1:], np.float64))


def given_back(source, tokenizer: Tokenizer) -> np.ndarray:
    leaf, values = source.spec.observation_leaves["x"], source[0].observations["x"]
    tokens, _ = tokenizer.encode(leaf, values, is_action=False)
    ids = tokens[..., 0]
    return np.stack([tokenizer.decode(leaf, row, is_action=False) for row in ids])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(1e6 - 5, 1e6 + 5, 50), r"'x' is from 999995 to 1000005: 100.0% of its values"),
        (np.linspace(-300, 300, 60), r"from -300 to 300: \d+.\d% of its values lie beyond"),
        (np.linspace(0, 8e-4, 50), "from 0 to 0.0008 and takes [45] of 1,024 bins"),
        (np.linspace(200, 204, 50), "from 200 to 204 and takes [123] of 1,024 bins"),
    ],
)
def test_what_is_lost_is_said_with_leaf_and_range(tokenizer, values, message):
    [line] = sample_warnings(unbounded(values[:, None]), tokenizer)
    assert re.search(message, line), line
    assert "--fit-scale" in line


@pytest.mark.parametrize(
    "values",
    [np.linspace(-1, 1, 50), np.arange(50) % 2.0, np.full(50, 3.7), np.linspace(0, 256, 50)],
)
def test_what_the_paper_tells_apart_is_no_warning(tokenizer, values):
    assert sample_warnings(unbounded(values[:, None]), tokenizer) == []


@pytest.mark.parametrize(("low", "high"), [(-5000, 5000), (0, 65535), (10**6, 10**6 + 4000)])
def test_finite_bounds_scale(tokenizer, low, high):
    dtype = np.uint16 if high == 65535 else np.int32
    values = np.random.default_rng(0).integers(low, high, (200, 1), endpoint=True)
    source = source_of(values, spaces.Box(low, high, (1,), dtype))
    assert sample_warnings(source, tokenizer) == []
    small = unbounded((values - (low + high) / 2) / ((high - low) / 2))
    ours, theirs = (
        tokenizer.encode(s.spec.observation_leaves["x"], s[0].observations["x"], is_action=False)[0]
        for s in (source, small)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_fitted_scale_tells_apart_and_is_undone(tokenizer):
    rng = np.random.default_rng(0)
    values = np.stack(
        [1e6 + rng.uniform(-1, 1, 300), rng.uniform(0, 1e-4, 300), np.full(300, 7.0)], axis=1
    )
    source = ScaledSource(unbounded(values))
    assert sample_warnings(source, tokenizer) == []
    half_range = np.ptp(values, axis=0) / 2
    error = np.abs(given_back(source, tokenizer) - values)
    # The widest bin within [-1, 1] reaches over 1.01 * ln(25601) / 512, whose half is the error.
    assert (error <= 0.0101 * np.where(half_range > 0, half_range, 1.0)).all()
    spec = spec_from_json(spec_to_json(source.spec))
    assert spec == source.spec and spec.observation_leaves["x"].scale[2] == 1.0
