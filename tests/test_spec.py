"""Any Gymnasium space becomes leaves and comes back."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from mugato.spec import Leaf, flatten, spec_of, unflatten
from mugato.spec_json import spec_from_json, spec_to_json
from tests.agents import tiny_tokenizer
from tests.spaces_list import SPACES


@pytest.mark.parametrize("name", SPACES)
def test_flatten_and_unflatten_are_inverse(name):
    space = SPACES[name]
    space.seed(0)
    tree = spec_of(space, space).observation
    value = space.sample()
    again = unflatten(tree, flatten(tree, value, "observation"), "observation")
    np.testing.assert_equal(_plain(again), _plain(value))


@pytest.mark.parametrize("name", SPACES)
def test_spec_survives_json(name):
    spec = spec_of(SPACES[name], SPACES[name])
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_leaves_are_in_the_papers_order():
    space = spaces.Dict(
        zoom=spaces.Discrete(3),
        angle=spaces.Box(-1, 1, (2,)),
        view=spaces.Box(0, 255, (32, 32, 3), np.uint8),
        mission=spaces.Text(10),
        also=spaces.Text(10),
    )
    leaves = spec_of(space, spaces.Discrete(2)).observation_leaves
    assert list(leaves) == ["also", "mission", "view", "angle", "zoom"]


@pytest.mark.parametrize(
    "space", [spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Discrete(2), None)]
)
def test_unsupported_space_names_itself_and_its_place(space):
    with pytest.raises(ValueError, match=rf"observation/nested.*{type(space).__name__}.*supported"):
        spec_of(spaces.Dict(nested=space), spaces.Discrete(2))


def test_small_integer_grids_are_discrete_not_images():
    leaf = spec_of(spaces.Box(0, 10, (7, 7, 3), np.uint8), spaces.Discrete(2)).observation
    assert leaf.kind == "discrete" and leaf.size == 147


def test_too_many_discrete_values_are_refused():
    with pytest.raises(ValueError, match="5000 discrete values"):
        spec_of(spaces.Discrete(5000), spaces.Discrete(2))


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return value


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [
        ((84, 84, 4), False),
        ((4, 84, 84), True),
        ((64, 64, 2), False),
        ((4, 84, 84, 3), False),
        ((4, 84, 84, 1), False),
        ((2, 3, 32, 64), True),
    ],
)
def test_stacked_frames_are_pictures(shape, channels_first):
    leaf = spec_of(spaces.Box(0, 255, shape, np.uint8), spaces.Discrete(2)).observation
    assert (leaf.kind, leaf.shape, leaf.channels_first) == ("image", shape, channels_first)


def test_pictures_of_many_channels_are_refused_by_name():
    space = spaces.Dict(view=spaces.Box(0, 255, (64, 64, 20), np.uint8))
    with pytest.raises(ValueError, match=r"view.*fewer than 16 channels, this space has shape"):
        spec_of(space, spaces.Discrete(2))


def _box(low, high, dtype) -> spaces.Box:
    return spaces.Box(np.full(3, low, dtype), np.full(3, high, dtype), dtype=dtype)


@pytest.mark.parametrize(
    ("space", "bounds"),
    [
        (spaces.Box(0, np.inf, (3,), np.int32), (0.0, np.inf)),
        (spaces.Box(-np.inf, np.inf, (3,), np.int64), (-np.inf, np.inf)),
        (_box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, np.int64), (-np.inf, np.inf)),
        (_box(0, np.iinfo(np.uint32).max, np.uint32), (0.0, np.inf)),
        (_box(-np.finfo(np.float32).max, np.finfo(np.float32).max, np.float32), (-np.inf, np.inf)),
        (_box(-np.finfo(np.float32).max, 4.8, np.float64), (-np.inf, 4.8)),
        (_box(-np.finfo(np.float64).max, np.finfo(np.float64).max, np.float64), (-np.inf, np.inf)),
        (_box(0, 65535, np.uint16), (0.0, 65535.0)),
        (_box(-32768, 32767, np.int16), (-32768.0, 32767.0)),
        (_box(-2.5, 1e6, np.float32), (-2.5, 1e6)),
    ],
)
def test_a_bound_at_the_end_of_a_wide_type_is_none(space, bounds):
    leaf = spec_of(space, space).action
    assert (leaf.low, leaf.high) == ((bounds[0],) * 3, (bounds[1],) * 3)


def test_only_observations_beyond_what_is_told_apart_are_scaled_by_their_bounds():
    low, high = np.array([-256, -5000, 0, -np.inf]), np.array([256, 5000, 2e6, 1e6])
    leaf = spec_of(spaces.Box(low, high, dtype=np.float64), spaces.Discrete(2)).observation
    assert leaf.center == (0.0, 0.0, 1e6, 0.0) and leaf.scale == (1.0, 5000.0, 1e6, 1.0)
    paper = spec_of(spaces.Box(-256, 256, (4,)), spaces.Discrete(2)).observation
    assert paper.center == paper.scale == ()


def test_what_no_policy_can_serve_is_refused_where_the_spec_is_made():
    picture, two = spaces.Box(0, 255, (32, 32, 3), np.uint8), spaces.Discrete(2)
    for seen, act, message in (
        (two, spaces.Dict(draw=picture), "action 'draw' is a picture"),
        (spaces.Dict(), two, "observation space holds nothing"),
        (two, spaces.Tuple([]), "action space holds nothing"),
        (two, spaces.Dict(push=spaces.Box(-1, 1, (0,))), "action/push: a box of shape .0,. holds"),
        (spaces.Dict({0: two}), two, "observation: the key 0 is no string"),
        (spaces.Dict({"a/b": two}), two, "the key 'a/b' can be no part of a path"),
        (spaces.Dict({".": two}), two, "the key '.' can be no part of a path"),
    ):
        with pytest.raises(ValueError, match=message):
            spec_of(seen, act)


def test_a_number_by_itself_is_scaled_by_its_bounds_too():
    leaf = spec_of(spaces.Box(0, 4000, (), np.float32), spaces.Discrete(2)).observation_leaves
    (found,) = leaf.values()
    assert (found.center, found.scale) == ((2000.0,), (2000.0,))


def test_bounds_further_apart_than_numbers_reach_are_refused():
    with pytest.raises(ValueError, match=r"bounds from -1e\+308 to 1e\+308 are further apart"):
        Leaf(kind="continuous", shape=(1,), low=(-1e308,), high=(1e308,))
    # A space's bounds are none, as those at the end of a type are.
    box = spaces.Box(-1e308, 1e308, (1,), np.float64)
    assert not spec_of(spaces.Discrete(2), box).action_leaves["action"].bounded


def test_an_action_of_which_only_some_elements_are_bounded_keeps_to_its_bounds():
    low, high = np.array([-1.0, -np.inf]), np.array([1.0, np.inf])
    leaf = spec_of(spaces.Discrete(2), spaces.Box(low, high, dtype=np.float64)).action_leaves[
        "action"
    ]
    tokenizer = tiny_tokenizer()
    values = np.array([[-1.0, -200.0], [0.5, 0.0], [1.0, 200.0]])
    tokens, _ = tokenizer.encode(leaf, values, is_action=True)
    back = np.stack([tokenizer.decode(leaf, ids[:, 0], is_action=True) for ids in tokens])
    assert (np.abs(back[:, 0]) <= 1).all()
    np.testing.assert_allclose(back, values, rtol=0.02, atol=0.02)
