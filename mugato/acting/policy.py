"""Observation to action, with memory: the agent as its environment sees it (§2.5).

A `Policy` acts in one environment, a `VectorPolicy` in a Gymnasium `VectorEnv`; both are thin
layers over a `BatchPolicy`, which does the work.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Agent
from mugato.tasks.compatibility import check_compatible


class Policy:
    """One task's policy in one environment.

    >>> policy = Policy.from_pretrained("runs/demo", task="cartpole")  # doctest: +SKIP
    >>> policy.reset()  # doctest: +SKIP
    >>> action = policy.select_action(observation)  # doctest: +SKIP
    """

    def __init__(
        self, agent: Agent, *, task: str, inference: InferenceConfig = InferenceConfig()
    ) -> None:
        """Begin an episode.

        Raises:
            ValueError: a task that the agent does not know or that observes nothing, or a prompt
                that does not fit it.
        """
        self._rows = BatchPolicy(agent, task=task, num_rows=1, inference=inference)
        self.task, self.spec = task, self._rows.spec

    @staticmethod
    def from_pretrained(
        folder: str | Path, *, task: str, inference: InferenceConfig = InferenceConfig()
    ) -> "Policy":
        """Load an agent for one of the tasks that it was trained on.

        Args:
            folder: of the run, or the name of an agent that comes with the package.
            task: which the agent acts in.
            inference: how it acts.

        Raises:
            ValueError: no checkpoint, a corrupt one, or a task that the agent does not know.
        """
        agent = Agent.from_pretrained(folder, device=inference.device)
        return Policy(agent, task=task, inference=inference)

    def check(self, env: gymnasium.Env | VectorEnv) -> None:
        """Check that an environment is the task's.

        Raises:
            ValueError: other spaces than the agent was trained on, showing both specs, or a
                `VectorEnv`.
        """
        if isinstance(env, VectorEnv):
            raise ValueError(f"{env.num_envs} environments, not one: use a VectorPolicy")
        check_compatible(self.spec, env, task=self.task)

    def reset(self) -> None:
        """Begin a new episode: forget everything but the prompt."""
        self._rows.reset()

    def select_action(self, observation: Any) -> Any:
        """Choose the action that answers an observation.

        Raises:
            ValueError: an observation that does not fit the task's spec, naming the leaf.
        """
        return self._rows.select_actions([observation])[0]


class VectorPolicy:
    """One task's policy in a Gymnasium `VectorEnv`: batched observations in, batched actions out.

    Episodes end one by one, and each row begins anew when its next episode does:

    >>> policy = VectorPolicy.from_pretrained("runs/demo", envs, task="cartpole")  # doctest: +SKIP
    >>> actions = policy.select_action(observations)  # doctest: +SKIP
    >>> observations, rewards, terminated, truncated, _ = envs.step(actions)  # doctest: +SKIP
    >>> policy.mark_done(terminated | truncated)  # doctest: +SKIP
    """

    def __init__(
        self,
        agent: Agent,
        envs: VectorEnv,
        *,
        task: str,
        inference: InferenceConfig = InferenceConfig(),
    ) -> None:
        """Begin an episode in each of the environments.

        Raises:
            ValueError: as `Policy`, or environments with other spaces than the agent was trained
                on, showing both specs.
        """
        self._rows = BatchPolicy(agent, task=task, num_rows=envs.num_envs, inference=inference)
        self.task, self.spec = task, self._rows.spec
        check_compatible(self.spec, envs, task=task)
        # Gymnasium's own default, where an environment does not say.
        self._autoreset = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._ending = np.zeros(envs.num_envs, np.bool_)

    @staticmethod
    def from_pretrained(
        folder: str | Path,
        envs: VectorEnv,
        *,
        task: str,
        inference: InferenceConfig = InferenceConfig(),
    ) -> "VectorPolicy":
        """Load an agent for one of the tasks that it was trained on.

        Args:
            folder: of the run, or the name of an agent that comes with the package.
            task: which the agent acts in.
            inference: how it acts.

        Raises:
            ValueError: no checkpoint, a corrupt one, or as the constructor.
        """
        agent = Agent.from_pretrained(folder, device=inference.device)
        return VectorPolicy(agent, envs, task=task, inference=inference)

    def reset(self) -> None:
        """Begin a new episode in every row: forget everything but the prompt."""
        self._rows.reset()
        self._ending[:] = False

    def select_action(self, observations: Any) -> Any:
        """Choose every row's action; observations and actions are batched as Gymnasium does.

        Raises:
            ValueError: an observation that does not fit the task's spec, naming leaf and row.
        """
        return self._rows.select_action(observations)

    def mark_done(self, done: Sequence[bool] | Bool[np.ndarray, " rows"]) -> None:
        """Tell which episodes the last step ended; call it after every step.

        Such environments reset themselves. Where they do so within that step the next observation
        is a new episode's. Otherwise (Gymnasium's default) it is the last of the old one, what the
        policy answers is not used, and the row begins anew with the observation after that. Where
        the caller resets (`AutoresetMode.DISABLED`), it begins anew with the next observation.
        """
        marked = self._rows.marks(done)
        if self._autoreset == AutoresetMode.NEXT_STEP:
            marked, self._ending = self._ending, marked.copy()
        self._rows.reset(marked)
