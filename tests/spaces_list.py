"""The shared list of test spaces: contract tests run over all of them."""

import numpy as np
from gymnasium import spaces

SPACES = {
    "box": spaces.Box(-2.0, 3.0, (3,), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    "scalar_box": spaces.Box(0.0, 1.0, (), np.float32),
    "integers": spaces.Box(-3, 5, (4,), np.int32),
    "discrete": spaces.Discrete(5, start=-2),
    "multi_discrete": spaces.MultiDiscrete([3, 4]),
    "multi_discrete_grid": spaces.MultiDiscrete([[3, 4], [5, 6]]),
    "multi_binary": spaces.MultiBinary(4),
    "multi_binary_grid": spaces.MultiBinary([2, 3]),
    "text": spaces.Text(12),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
    "dict": spaces.Dict(b=spaces.Discrete(2), a=spaces.Box(-1, 1, (2,))),
    "nested": spaces.Dict(
        inner=spaces.Dict(x=spaces.Discrete(4), y=spaces.Tuple((spaces.MultiBinary(2),))),
        words=spaces.Text(5),
    ),
}

IMAGES = {
    "rgb": spaces.Box(0, 255, (56, 56, 3), np.uint8),
    "grey": spaces.Box(0, 255, (20, 33, 1), np.uint8),
    "flat_grey": spaces.Box(0, 255, (16, 16), np.uint8),
    "channels_first": spaces.Box(0, 255, (3, 24, 40), np.uint8),
    "wide": spaces.Box(0, 255, (210, 160, 3), np.uint8),
}
