"""What the agent sees of a grid world is what the world itself would draw of it."""

import numpy as np
import pytest

from mugato.tasks.registry import TASKS


@pytest.mark.parametrize(
    "name", ["minigrid-four-rooms", "babyai-go-to-local", "minigrid-dynamic-obstacles-16x16"]
)
def test_the_picture_is_the_agents_view(name):
    env = TASKS[name].make_env()
    observation, _ = env.reset(seed=3)
    world, generator = env.unwrapped, np.random.default_rng(0)
    for _ in range(40):
        view = world.get_frame(tile_size=8, agent_pov=True)
        np.testing.assert_array_equal(observation["image"], view)
        assert observation["direction"] == world.agent_dir
        assert observation["mission"] == world.mission
        observation, _, terminated, truncated, _ = env.step(int(generator.integers(3)))
        if terminated or truncated:
            observation, _ = env.reset(seed=4)
    env.close()
