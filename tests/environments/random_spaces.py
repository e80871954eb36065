"""Environments of random spaces, one for each number, that write into one buffer for ever."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ENV_ID = "random_spaces:RandomSpaces-v0"
FLOATS = (np.float16, np.float32, np.float64)
INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
PICTURES = [
    (16, 20), (20, 16, 1), (16, 16, 3), (3, 16, 20), (16, 20, 4), (2, 16, 16), (2, 16, 16, 3)
]  # fmt: skip
WORDS = ["say", "gо", "up", "▁", "ß\n", "two", "", "spaces", "🚀"]


def random_space(rng: np.random.Generator, *, depth: int = 2, action: bool = False) -> spaces.Space:
    kinds = ["box", "box", "integers", "discrete", "multi", "binary", "text"]
    kinds += [] if action else ["picture", "picture"]
    kinds += ["dict", "tuple"] if depth else []
    match rng.choice(kinds):
        case "dict":
            names = rng.choice(["a", "b.c", "Z", "ü", "observation", "_index_0"], 2, replace=False)
            return spaces.Dict(
                {str(name): random_space(rng, depth=depth - 1, action=action) for name in names}
            )
        case "tuple":
            count = int(rng.integers(1, 3))
            return spaces.Tuple(
                [random_space(rng, depth=depth - 1, action=action) for _ in range(count)]
            )
        case "box":
            dtype = FLOATS[rng.integers(3)]
            shape = tuple(rng.integers(1, 4, size=rng.integers(3)).tolist())
            return _box(rng, dtype, shape)
        case "integers":
            dtype = INTEGERS[rng.integers(len(INTEGERS))]
            low, high = sorted(rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, 2, dtype))
            if rng.random() < 0.3:
                low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            if rng.random() < 0.3:
                low, high = 0, 100
            return spaces.Box(np.full(2, low, dtype), np.full(2, high, dtype), dtype=dtype)
        case "discrete":
            return spaces.Discrete(int(rng.integers(1, 1025)), start=int(rng.integers(-9, 9)))
        case "multi":
            return spaces.MultiDiscrete(rng.integers(1, 1025, size=(2, 2)))
        case "binary":
            return spaces.MultiBinary(3)
        case "picture":
            low, high = sorted(rng.integers(0, 256, 2).tolist())
            if rng.random() < 0.5:
                low, high = 0, 255
            return spaces.Box(low, high, PICTURES[rng.integers(len(PICTURES))], np.uint8)
    return spaces.Text(200)


def _box(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> spaces.Box:
    end = float(np.finfo(dtype).max)
    low, high = (
        ends[rng.integers(len(ends))]
        for ends in ((-1.0, -3.5, -np.inf, -end, -5000.0, 0.0), (1.0, 7.0, np.inf, end, 4000.0))
    )
    return spaces.Box(np.full(shape, low, dtype), np.full(shape, high, dtype), dtype=dtype)


def draw(space: spaces.Space, rng: np.random.Generator) -> Any:
    """Draw a value that its space holds and that tokens can tell apart."""
    match space:
        case spaces.Dict():
            return {key: draw(child, rng) for key, child in space.spaces.items()}
        case spaces.Tuple():
            return tuple(draw(child, rng) for child in space.spaces)
        case spaces.Text():
            return " ".join(rng.choice(WORDS, size=rng.integers(4)))
        case spaces.Discrete():
            return int(rng.integers(space.start, space.start + space.n))
        case spaces.MultiDiscrete():
            return rng.integers(space.nvec)
        case spaces.MultiBinary():
            return rng.integers(2, size=space.shape, dtype=np.int8)
        case spaces.Box() if np.issubdtype(space.dtype, np.floating):
            low, high = np.maximum(space.low, -100.0), np.minimum(space.high, 100.0)
            return np.asarray(rng.uniform(low, high)).astype(space.dtype)
        case spaces.Box():
            low, high = space.low.astype(np.int64), space.high.astype(np.int64)
            wide = space.dtype.itemsize >= 4
            if wide and space.high.max() >= np.iinfo(space.dtype).max - 2:  # unbounded
                low, high = np.clip(low, -200, 200), np.full_like(high, 200)
            return np.asarray(rng.integers(low, high, endpoint=True)).astype(space.dtype)
    raise AssertionError(space)


class RandomSpaces(gymnasium.Env):
    """Random observations; the reward is random too; an episode has one to six timesteps."""

    def __init__(self, number: int = 0, render_mode: str | None = None) -> None:
        rng = np.random.default_rng(number)
        self.observation_space = random_space(rng)
        self.action_space = random_space(rng, action=True)
        self.render_mode, self._buffer = render_mode, draw(self.observation_space, rng)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(1, 7))
        return self._observation(), {}

    def step(self, action):
        _spoil(action)
        self._left -= 1
        reward = float(self.np_random.normal())
        return self._observation(), reward, self._left == 0, False, {}

    def _observation(self):
        self._buffer = _overwritten(self._buffer, draw(self.observation_space, self.np_random))
        return self._buffer


def _overwritten(old: Any, new: Any) -> Any:
    """Write into the old arrays and dictionaries, as environments with buffers do."""
    if isinstance(old, dict):
        old.update({key: _overwritten(old[key], value) for key, value in new.items()})
        return old
    if isinstance(old, tuple):
        return tuple(map(_overwritten, old, new))
    if isinstance(old, np.ndarray):
        old[...] = new
        return old
    return new


def _spoil(action: Any) -> None:
    """Write into an action, as environments that clip and scale in place do."""
    if isinstance(action, dict):
        action = tuple(action.values())
    if isinstance(action, tuple):
        for part in action:
            _spoil(part)
    elif isinstance(action, np.ndarray) and action.ndim:
        action[...] = 0


class Expert:
    """Answers at random, the same in the same episode, and writes into what it sees."""

    def __init__(self, env: gymnasium.Env) -> None:
        unwrapped: Any = env.unwrapped
        self._space = env.action_space
        self._rng = np.random.default_rng(unwrapped.np_random_seed)

    def __call__(self, observation: Any) -> Any:
        action = draw(self._space, self._rng)
        _spoil(observation)
        return action


if "RandomSpaces-v0" not in gymnasium.registry:
    gymnasium.register("RandomSpaces-v0", entry_point="random_spaces:RandomSpaces")
