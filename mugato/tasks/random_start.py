"""A wrapper for games that would begin, or go, the same way every time."""

import gymnasium
from gymnasium.utils import RecordConstructorArgs


class RandomStart(gymnasium.Wrapper, RecordConstructorArgs):
    """Begin each episode with 1 to `most` random actions, drawn from the environment's seed."""

    def __init__(self, env: gymnasium.Env, *, most: int) -> None:
        RecordConstructorArgs.__init__(self, most=most)
        gymnasium.Wrapper.__init__(self, env)
        self._most = most

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        observation, info = self.env.reset(seed=seed, options=options)
        rng = self.unwrapped.np_random
        self.env.action_space.seed(int(rng.integers(2**31)))
        for _ in range(rng.integers(1, self._most, endpoint=True)):
            observation, _, _, _, info = self.env.step(self.env.action_space.sample())
        return observation, info
