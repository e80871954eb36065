"""Episodes that an agent drives and an expert corrects (Ross et al. 2011), some at a time.

What is executed is the agent's action; what is learned is what the expert says in the same state.
The expert is asked at every step, before the agent, and sees what was executed as it does under
action noise. Where it cannot answer the episode is cut: what came before stays. In a share of the
episodes the expert drives first, so that the agent also meets what lies late in an episode.

Seeds are played in blocks of neighbors that share the agent's batches: what comes of a seed depends
on its block alone, never on the number of processes. Nothing here knows files.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Agent
from mugato.evaluation.config import load_agent
from mugato.recording.demonstrate import Demonstration, RejectedEpisode, demonstration_of
from mugato.system.errors import describe
from mugato.system.threads import threads
from mugato.system.workers import WorkerDiedError, WorkerPool
from mugato.tasks.conform import NotInSpaceError, conform, detached
from mugato.tasks.environment import opened, reset, stays, step
from mugato.tasks.rollout import Rollout
from mugato.tasks.task import Action, ActionFunction, Task

# Keeps who begins an episode apart from what else is drawn from its seed.
LEAD_STREAM = 3
# For each process: enough to keep all busy while one is slow.
BLOCKS_AHEAD = 2

Outcome = Demonstration | RejectedEpisode


@dataclass(frozen=True, kw_only=True)
class Driving:
    """Who drives, and how.

    Attributes:
        run: folder of the agent.
        expert_share: share of the episodes that the expert begins.
        longest_lead: timesteps that it drives at most; how many is drawn evenly.
        block: seeds that are played together.
    """

    run: Path
    inference: InferenceConfig
    expert_share: float
    longest_lead: int
    block: int

    def lead(self, seed: int) -> int:
        """Draw how many timesteps the expert drives before the agent does."""
        rng = np.random.default_rng([LEAD_STREAM, seed])
        leads = rng.random() < self.expert_share
        return int(rng.integers(1, self.longest_lead, endpoint=True)) if leads else 0


@contextmanager
def endless_corrections(
    task: Task, driving: Driving, *, workers: int, first_seed: int, after: int
) -> Iterator[Iterator[Outcome]]:
    """Play the seeds from `first_seed` on, in their order; processes end with the block.

    Args:
        after: so many seeds are done. Those of a block that was begun are played again, for the
            sake of the others in it.

    Raises:
        ValueError: if the task cannot be pickled, or a process dies.
    """
    blocks = count(after // driving.block)
    seeds = (range(n, n + driving.block) for n in (first_seed + b * driving.block for b in blocks))
    done = after % driving.block
    run = partial(_correct_in_worker, driving=driving)
    if workers == 1:
        with _task_with_environments(task) as given, threads(1):
            yield _flat((run(given, block) for block in seeds), done)
        return
    setup = partial(_task_with_environments, task)
    with WorkerPool(workers, setup=setup, name=task.name) as pool:
        try:
            yield _flat(pool.stream(run, seeds, ahead=BLOCKS_AHEAD), done)
        except WorkerDiedError as error:
            raise ValueError(f"{task.name}: a worker process died with {error.cause}") from error


def correct(
    agent: Agent, task: Task, envs: Sequence[gymnasium.Env], seeds: Sequence[int], driving: Driving
) -> list[Outcome]:
    """Play one block, each seed in an environment of its own.

    Errors of the environment drop an episode; one of the expert cuts it, and drops it only where it
    has nothing to say at all.

    Raises:
        ValueError: if the expert acts outside the action space, or an observation does not fit.
    """
    rows = [
        _Row(task, env, seed, driving.lead(seed)) for env, seed in zip(envs, seeds, strict=True)
    ]
    inference = driving.inference
    policy = BatchPolicy(agent, task=task.name, num_rows=len(rows), inference=inference)
    for i, row in enumerate(rows):
        policy.seed_row(i, inference.seed + row.seed)
        row.start()
    running = rows
    while True:
        for row in running:
            row.ask()
        kept = [i for i, row in enumerate(running) if not row.over]
        if not kept:
            return [row.outcome() for row in rows]
        if len(kept) < len(running):
            policy.select_rows(kept)
            running = [running[i] for i in kept]
        observations = [row.observations[-1] for row in running]
        actions = policy.select_actions(observations, given=[row.given for row in running])
        for row, action in zip(running, actions, strict=True):
            row.step(action)


@dataclass(eq=False)
class _Row:
    """One episode in the batch.

    Attributes:
        lead: timesteps that the expert drives.
        cut: why it ends before its time.
        error: what the environment raised, as a rejection.
    """

    task: Task
    env: gymnasium.Env
    seed: int
    lead: int
    observations: list[Any] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    executed: list[Action] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    over: bool = False
    terminated: bool = False
    cut: str = ""
    error: RejectedEpisode | None = None
    _expert: ActionFunction | None = None

    def start(self) -> None:
        with self._failing():
            self.observations.append(detached(reset(self.env, seed=self.seed)))
            assert self.task.make_expert is not None, "checked before recording"
            self._expert = self.task.make_expert(self.env)

    def ask(self) -> None:
        """Note what the expert would do now."""
        if self.over:
            return
        assert self._expert is not None
        try:
            with stays("the expert"):
                answer = detached(self._expert(self.observations[-1]))
        except Exception as error:  # experts raise what they like
            self.over, self.cut = True, describe(error)[:200]
            return
        try:
            self.actions.append(conform(self.env.action_space, answer, "action"))
        except NotInSpaceError as error:
            raise ValueError(f"{self.task.name}, seed {self.seed}: {error}") from error

    @property
    def given(self) -> Action | None:
        """What is executed in the place of the agent's choice, and remembered by it as its own."""
        return self.actions[-1] if len(self.executed) < self.lead else None

    def step(self, action: Action) -> None:
        """Execute the agent's action, or the expert's where it drives."""
        action = action if self.given is None else self.given
        with self._failing():
            action = conform(self.env.action_space, action, "the agent's action")
            self.executed.append(detached(action))
            observation, reward, self.terminated, truncated = step(
                self.env, detached(action), timestep=len(self.rewards)
            )
            self.observations.append(detached(observation))
            self.rewards.append(reward)
            at_limit = len(self.rewards) == self.task.max_episode_steps
            self.over = self.terminated or truncated or at_limit

    def outcome(self) -> Outcome:
        """Return what is kept of the episode."""
        if self.error is not None:
            return self.error
        if not self.rewards:
            cause = self.cut.partition(":")[0]
            return RejectedEpisode(seed=self.seed, cause=cause, reason=self.cut)
        rollout = Rollout(
            seed=self.seed,
            observations=self.observations,
            actions=self.actions,
            executed=self.executed,
            rewards=np.array(self.rewards, np.float64),
            terminated=self.terminated,
        )
        return demonstration_of(self.task, self.env, rollout, cut=self.cut)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # environments raise what they like
            cause, reason = type(error).__name__, describe(error)[:200]
            self.over = True
            self.error = RejectedEpisode(seed=self.seed, cause=cause, reason=reason)


class _Environments:
    """Environments of one task, made when they are first needed."""

    def __init__(self, task: Task, stack: ExitStack) -> None:
        self._task, self._stack, self._made = task, stack, list[gymnasium.Env]()

    def __call__(self, number: int) -> list[gymnasium.Env]:
        while len(self._made) < number:
            self._made.append(self._stack.enter_context(opened(self._task.make_env)))
        return self._made[:number]


@contextmanager
def _task_with_environments(task: Task) -> Iterator[tuple[Task, _Environments]]:
    with ExitStack() as stack:
        yield task, _Environments(task, stack)


def _correct_in_worker(
    given: tuple[Task, _Environments], seeds: Sequence[int], *, driving: Driving
) -> list[Outcome]:
    task, environments = given
    agent = load_agent(driving.run, driving.inference.device)
    return correct(agent, task, environments(len(seeds)), seeds, driving)


def _flat(blocks: Iterator[list[Outcome]], done: int) -> Iterator[Outcome]:
    """Yield the outcomes of all blocks but for the first `done`."""
    for block in blocks:
        yield from block[done:]
        done = 0
