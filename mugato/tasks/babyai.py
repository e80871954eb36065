"""BabyAI: instructions in language, in grid worlds (Chevalier-Boisvert et al. 2019).

Observation: a 56x56 picture of the 7x7 cells before the agent, its direction, the mission.
Expert: the bot that comes with the levels. The return falls with the time used, from 1.
"""

from functools import partial

from mugato.tasks.minigrid import make_bot, make_grid_env
from mugato.tasks.task import Task


def babyai(name: str, env_id: str, *, max_episode_steps: int, episodes: int = 2000) -> Task:
    """A BabyAI level.

    Args:
        max_episode_steps: the level's own limit, which the environment applies: the square of the
            room size times the number of rooms times the number of places to go to.
    """
    return Task(
        name=name,
        domain="babyai",
        make_env=partial(make_grid_env, env_id),
        make_expert=make_bot,
        max_episode_steps=max_episode_steps,
        failure_return=0.0,
        episodes=episodes,
        action_noise=0.05,
    )


PACKAGES = ("minigrid",)
TASKS = (
    babyai("babyai-go-to-red-ball-no-dists", "BabyAI-GoToRedBallNoDists-v0", max_episode_steps=64),
    babyai("babyai-go-to-obj", "BabyAI-GoToObj-v0", max_episode_steps=64),
    babyai("babyai-go-to-local", "BabyAI-GoToLocal-v0", max_episode_steps=64, episodes=8000),
    babyai("babyai-open-door", "BabyAI-OpenDoor-v0", max_episode_steps=441, episodes=3000),
)
