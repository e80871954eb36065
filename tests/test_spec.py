"""Any Gymnasium space becomes leaves and comes back."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from mugato.spec import Spec, flatten, spec_of, unflatten
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
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


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


@pytest.mark.parametrize("shape", [(84, 84, 4), (4, 84, 84), (64, 64, 2)])
def test_pictures_of_other_channels_are_refused_by_name(shape):
    space = spaces.Dict(view=spaces.Box(0, 255, shape, np.uint8))
    with pytest.raises(ValueError, match=r"view.*1 or 3 channels, this space has shape"):
        spec_of(space, spaces.Discrete(2))
