"""Record what an expert says where an agent drives, as a Minari data set beside the demonstrations.

The data set's name tells which weights drove. Seeds are from a range of their own, and other
weights see other ones. As demonstrations, corrections lie in a store until all are there; the same
call goes on with what was interrupted. Episodes are kept whatever they return: what is learned of
them is the expert's.
"""

import operator
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
from minari import load_dataset

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import Agent, AgentTask, shipped_agent
from mugato.corrections.drive import Driving, endless_corrections
from mugato.data.formats.minari.read import complete_dataset_id
from mugato.evaluation.agent_info import SHOWN_DIGITS, fingerprint
from mugato.evaluation.config import EvaluationConfig, inference_config, load_agent
from mugato.evaluation.episodes import most_envs
from mugato.model.serialization import WEIGHTS
from mugato.recording.recorder import OnProgress, RecordReport, Tally, recording_settings
from mugato.recording.store import (
    check_may_write,
    finish_recording,
    is_recorded,
    unfinished_recording,
)
from mugato.tasks.compatibility import check_compatible
from mugato.tasks.environment import opened
from mugato.tasks.registry import TASKS, get_task
from mugato.tasks.task import CORRECTION_SEEDS, Task

# Seeds that the corrections of one agent may use.
SEEDS_OF_AGENT = 10_000
# Fewer episodes would leave processes idle.
MIN_EPISODES = 16
# Timesteps of a demonstration where there is none to look at.
USUAL_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """How to record corrections.

    Attributes:
        driver: folder of the agent that acts.
        episodes: how many; a quarter of the task's demonstrations, at least 16, if None.
        dataset: Minari id to write to; one that names task and weights if None.
        demonstrations: Minari id of the task's demonstrations, whose length says when an episode
            has lasted long enough; the task's own if None.
        expert_share: in this share of the episodes the expert drives first, for up to as long as a
            demonstration usually lasts. With 0 the agent always drives, as it does at play.
        max_lengths: episodes are cut after so many times the length that demonstrations usually
            have, so that an agent that got stuck does not fill the data with one state.
        workers: processes; with 1 everything happens in this one.
        first_seed: first episode seed, from 4,000,000 on; it follows from the weights if None.
        overwrite: begin anew, and replace a data set that exists.
    """

    driver: Path
    episodes: int | None = None
    dataset: str | None = None
    demonstrations: str | None = None
    expert_share: float = 0.25
    max_lengths: float = 3.0
    workers: int = 1
    first_seed: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.expert_share <= 1:
            raise ValueError(f"expert_share must be between 0 and 1, got {self.expert_share}")
        if not self.max_lengths > 0:
            raise ValueError(f"max_lengths must be more than 0, got {self.max_lengths}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.first_seed is not None:
            object.__setattr__(self, "first_seed", operator.index(self.first_seed))
            if self.first_seed not in CORRECTION_SEEDS:
                raise ValueError(
                    f"corrections use seeds from {CORRECTION_SEEDS.start} to "
                    f"{CORRECTION_SEEDS.stop - 1}, got {self.first_seed}"
                )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A configuration applied to a task and an agent.

    Attributes:
        task: with the number of episodes and their longest length.
        known: the same as the agent knows it.
        weights: SHA-256 of the agent's weights.
    """

    task: Task
    known: AgentTask
    dataset_id: str
    weights: str
    first_seed: int
    driving: Driving


def record_corrections(
    task: Task | str, config: CorrectionConfig, *, on_progress: OnProgress | None = None
) -> RecordReport:
    """Let an agent act in a task and keep what its expert says, or finish what was begun.

    Args:
        on_progress: called in this process after each episode with (kept, dropped).

    Raises:
        ValueError: no agent, one that does not know the task, no expert, an existing data set
            without `overwrite`, one that is unfinished with other settings, weights that changed
            meanwhile, or an environment that mostly fails.
        ImportError: a package of the task's domain is missing.
    """
    started = time.perf_counter()
    plan = _plan(get_task(task) if isinstance(task, str) else task, config)
    check_may_write(plan.dataset_id, overwrite=config.overwrite)
    tally = Tally(task=plan.task, on_progress=on_progress)
    with opened(plan.task.make_env) as env:
        check_compatible(plan.known.spec, env, task=plan.task.name)
        continued = _record_in(env, plan, config, tally)
    seconds = time.perf_counter() - started
    return tally.report(plan.dataset_id, continued=continued, seconds=seconds)


def corrections_id(task: Task, weights: str) -> str:
    """Return the Minari id of an agent's corrections.

    >>> corrections_id(get_task("cartpole"), "0123456789abcdef")
    'mugato/cartpole/corrections-0123456789ab-v0'
    """
    return task.dataset_id_of(f"corrections-{weights[:SHOWN_DIGITS]}")


def default_episodes(num_demonstrations: int, share: float = 0.25) -> int:
    """Return how many episodes of corrections to record: a share, at least 16."""
    return min(SEEDS_OF_AGENT, max(MIN_EPISODES, round(share * num_demonstrations)))


def weights_of(driver: Path) -> str:
    """Return the SHA-256 of an agent's weights.

    Raises:
        ValueError: if there are none.
    """
    path = (shipped_agent(driver) or driver) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{driver} holds no agent: there is no {WEIGHTS} in it")
    return fingerprint(path)


def driven_tasks(driver: Path) -> tuple[str, ...]:
    """Name those of our tasks in which an agent can be corrected.

    Raises:
        ValueError: no agent, or one that knows none of them.
    """
    agent = load_agent(driver, "cpu")
    known = [TASKS[name] for name in agent.tasks if name in TASKS]
    names = tuple(task.name for task in known if cannot_correct(task, agent) is None)
    if not names:
        raise ValueError(f"{driver} knows none of our tasks that have an expert")
    return names


def cannot_correct(task: Task, agent: Agent) -> str | None:
    """Say why an agent's acting in a task cannot be corrected; None where it can."""
    if task.make_expert is None:
        return "it has no expert"
    if task.name not in agent.tasks:
        return "the agent does not know it"
    if any(leaf.kind == "text" for leaf in agent.spec(task.name).action_leaves.values()):
        return "its actions are texts, of which only one can stand in a sequence"
    return None


def _record_in(env: gymnasium.Env, plan: _Plan, config: CorrectionConfig, tally: Tally) -> int:
    """Record until there are enough; return how many seeds an earlier call had tried."""
    settings = _settings(env, plan)
    task, driving = plan.task, plan.driving
    with unfinished_recording(plan.dataset_id, settings, overwrite=config.overwrite) as store:
        continued = tally.take_over(store)
        if not tally.complete:
            with endless_corrections(
                task, driving, workers=config.workers, first_seed=plan.first_seed, after=continued
            ) as outcomes:
                tally.record(outcomes, store)
            if weights_of(config.driver) != plan.weights:
                store.remove()
                raise ValueError(f"{config.driver}: its weights changed while it was driving")
        metadata = tally.metadata(
            f"Corrections of an agent with weights {plan.weights[:SHOWN_DIGITS]}",
            driver_weights=plan.weights,
            expert_share=driving.expert_share,
            max_episode_steps=task.max_episode_steps,
            cut={str(seed): reason for seed, reason in tally.cut.items()},
        )
        finish_recording(store, plan.dataset_id, env, episodes=task.episodes, **metadata)
    return continued


def _plan(task: Task, config: CorrectionConfig) -> _Plan:
    weights = weights_of(config.driver)
    inference: InferenceConfig = inference_config(EvaluationConfig())
    agent = load_agent(config.driver, inference.device)
    if reason := cannot_correct(task, agent):
        raise ValueError(f"{task.name}: nothing can be corrected: {reason}")
    usual = _usual_length(config.demonstrations or task.dataset_id) or USUAL_LENGTH
    longest = max(1, round(config.max_lengths * usual))
    task = replace(
        task,
        episodes=default_episodes(task.episodes) if config.episodes is None else config.episodes,
        max_episode_steps=min(task.max_episode_steps, longest),
        action_noise=0.0,
    )
    if task.episodes > SEEDS_OF_AGENT:
        raise ValueError(f"{task.name}: at most {SEEDS_OF_AGENT} corrections, got {task.episodes}")
    slots = len(CORRECTION_SEEDS) // SEEDS_OF_AGENT
    first_seed = CORRECTION_SEEDS[int(weights[:SHOWN_DIGITS], 16) % slots * SEEDS_OF_AGENT]
    return _Plan(
        task=task,
        known=agent.task(task.name),
        dataset_id=complete_dataset_id(config.dataset or corrections_id(task, weights)),
        weights=weights,
        first_seed=first_seed if config.first_seed is None else config.first_seed,
        driving=Driving(
            run=config.driver,
            inference=inference,
            expert_share=config.expert_share,
            longest_lead=max(1, round(usual)),
            block=most_envs(inference),
        ),
    )


def _usual_length(dataset_id: str) -> float | None:
    """Return the mean timesteps of a data set's episodes; None where there is none."""
    if not is_recorded(dataset_id):
        return None
    dataset: Any = load_dataset(dataset_id)
    return dataset.total_steps / dataset.total_episodes


def _settings(env: gymnasium.Env, plan: _Plan) -> dict[str, Any]:
    """Return what must be the same for a recording to be continued."""
    driving = plan.driving
    return {
        **recording_settings(plan.task, env, plan.first_seed),
        "driver_weights": plan.weights,
        "acting": plan.known.to_json()["sampling"],
        "history": plan.known.history,
        "expert_share": driving.expert_share,
        "longest_lead": driving.longest_lead,
        "jpeg": False,
    }
