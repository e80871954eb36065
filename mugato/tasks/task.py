"""What a control task is: an environment, an expert, and how to demonstrate it (§3.1).

A task knows nothing of tokens or models. Everything in it can be pickled, so that recording and
evaluation may run in other processes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium

from mugato.system.optional import require as require  # for the domains' files

# Episodes of one use never serve another.
DEMONSTRATION_SEEDS = range(1_000_000)
TUNING_SEEDS = range(1_000_000, 3_000_000)
EVALUATION_SEEDS = range(3_000_000, 4_000_000)
CORRECTION_SEEDS = range(4_000_000, 8_000_000)

Observation = Any  # a value of the environment's observation space
Action = Any
ActionFunction = Callable[[Observation], Action]


@dataclass(frozen=True, kw_only=True)
class Task:
    """An environment with its expert.

    Attributes:
        name: as in JAT where it has the task ("babyai-go-to-local").
        domain: the file in `mugato/tasks/domains/` that the task comes from, or "gymnasium".
        make_env: called as `make_env(render_mode=None)`; the spaces are supported by `spec_of`.
        make_expert: called with the environment after each reset; returns observation -> action.
            It may look behind the observation. None for tasks without an expert.
        max_episode_steps: no episode is longer.
        failure_return: an episode that returns this or less has failed; None if none fails. Only
            successful episodes become demonstrations.
        episodes: number of demonstrations recorded by default.
        action_noise: how far executed actions stray from the expert's; see `rollout.perturb`.
        jat_name: the name of the same task in the JAT data set (Gallouédec et al. 2024), if there.
    """

    name: str
    domain: str
    make_env: Callable[..., gymnasium.Env]
    make_expert: Callable[[gymnasium.Env], ActionFunction] | None = None
    max_episode_steps: int
    failure_return: float | None = None
    episodes: int = 200
    action_noise: float = 0.0
    jat_name: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.action_noise <= 1:
            raise ValueError(
                f"{self.name}: action_noise must be in [0, 1], got {self.action_noise}"
            )
        for field in ("max_episode_steps", "episodes"):
            if getattr(self, field) < 1:
                value = getattr(self, field)
                raise ValueError(f"{self.name}: {field} must be at least 1, got {value}")

    @property
    def dataset_id(self) -> str:
        """The Minari id of the task's own demonstrations.

        >>> Task(name="robo:Reach-v0", domain="", make_env=int, max_episode_steps=1).dataset_id
        'mugato/robo-Reach-v0/expert-v0'
        """
        return self.dataset_id_of("expert")

    def dataset_id_of(self, what: str) -> str:
        """Return the Minari id of a data set of this task: Minari takes no colons in names."""
        return f"mugato/{re.sub('[/:.]', '-', self.name)}/{what}-v0"

    def succeeded(self, episode_return: float) -> bool:
        return self.failure_return is None or episode_return > self.failure_return
