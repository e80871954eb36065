"""How an agent acts best, found by playing: for each task how far it looks back, and what it takes.

A cloned policy that is sampled as it was taught strays more than its expert did; one that looks
back may copy itself instead of looking. Which way is best differs between tasks and shows in play
alone, never in the loss. The ways are played on seeds that serve nothing else, and the best one is
kept with the agent, beside its weights.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mugato.agent import AgentTask, Sampling
from mugato.evaluation.config import EvaluationConfig, Plan, find_tasks, make_plan
from mugato.evaluation.episodes import FailedEpisode, PlayedEpisode
from mugato.evaluation.jobs import (
    OnProgress,
    episode_jobs,
    episodes_of,
    run_episode_jobs,
)
from mugato.evaluation.references import tabled_reference
from mugato.evaluation.results import Provenance, save_json
from mugato.model.devices import AUTO
from mugato.system.jobs import Job
from mugato.tasks.task import TUNING_SEEDS, Task
from mugato.training.run_info import RunInfo

REPORT = "tuning.json"
SETTLED = 0.98  # a normalized score that leaves nothing to find out
# Ways to choose, the first of which is the paper's and wins a tie.
DISCRETE = tuple(Sampling(temperature=t) for t in (1.0, 0.5, 0.25))
CONTINUOUS = (
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(continuous="median"),
    Sampling(continuous="mean"),
)


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How to find out.

    Attributes:
        tasks: only these; all that the agent was trained on where None.
        episodes: episodes of each way of each task.
        first_seed: seed of the first episode, of those for tuning.
        workers: processes of one thread each.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
    """

    tasks: Sequence[str] | None = None
    episodes: int = 16
    first_seed: int = TUNING_SEEDS.start
    workers: int = 2
    device: str = AUTO

    def __post_init__(self) -> None:
        if self.first_seed not in TUNING_SEEDS:
            raise ValueError(
                f"seeds for tuning are {TUNING_SEEDS.start} to {TUNING_SEEDS.stop - 1}, "
                f"got {self.first_seed}"
            )

    def evaluation(self) -> EvaluationConfig:
        """Return the same as a configuration of an evaluation; raises ValueError as that does."""
        return EvaluationConfig(
            tasks=self.tasks, episodes=self.episodes, first_seed=self.first_seed,
            workers=self.workers, videos=False, device=self.device,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to act in a task, and what it was worth.

    Attributes:
        task: the task, with how far the agent looks back and how its actions are chosen.
        returns: of the episodes, all ways on the same seeds; none where one of them failed.
    """

    task: AgentTask
    returns: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean return; of a way that failed it is the lowest of all."""
        return fmean(self.returns) if self.returns else -math.inf

    def to_json(self) -> dict[str, Any]:
        """Return a report's entry."""
        chosen = {"history": self.task.history, "sampling": asdict(self.task.sampling)}
        return {**chosen, "returns": list(self.returns)}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What was played.

    Attributes:
        ways: of each task, in the order in which they were played.
        problems: what went wrong, by task; one without a way that works acts as it did before.
    """

    ways: dict[str, list[Way]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def best(self, task: str) -> Way:
        """Return the way with the highest mean return; of equals the first."""
        return max(self.ways[task], key=lambda way: way.mean)

    @property
    def chosen(self) -> dict[str, AgentTask]:
        """The best way of each task that has one."""
        best = {name: self.best(name) for name in self.ways}
        return {name: way.task for name, way in best.items() if way.returns}


def tune(
    run: str | Path,
    config: TuningConfig = TuningConfig(),
    *,
    on_progress: OnProgress = lambda what, done, total: None,
    command: str = "mugato.evaluation.tuning.tune",
) -> Tuning:
    """Find how the agent in a run's folder acts best in each task, and keep that with it.

    First how far it looks back, where it was taught to look and not to look; then how its actions
    are chosen, unless that is as good as the expert already. What was played is in `tuning.json`.

    Raises:
        ValueError: no agent in `run`, an unknown task, or no task that could be played.
    """
    plan = make_plan(run, config.evaluation())
    agent = plan.agent()
    tasks, problems = find_tasks(plan)
    tuning = Tuning(problems=dict(problems))
    histories = {t.name: _histories(plan, t.name) for t in tasks}
    _play(plan, tasks, histories, tuning, _part(on_progress, 0, 40))
    for name in [name for name, ways in tuning.ways.items() if not any(w.returns for w in ways)]:
        del tuning.ways[name]  # it failed: how it acts stays as it was
    if tuning.problems and not tuning.ways:
        name, why = next(iter(tuning.problems.items()))
        raise ValueError(f"no task could be played, so nothing was changed: {name}: {why}")
    open_ones = [
        t for t in tasks if t.name in tuning.ways and not _is_settled(t, plan, tuning.best(t.name))
    ]
    samplings = {t.name: _samplings(tuning.best(t.name).task) for t in open_ones}
    _play(plan, tasks, samplings, tuning, _part(on_progress, 40, 60))
    replace(agent, tasks={**agent.tasks, **tuning.chosen}).save_tasks(plan.run)
    report = {
        "tasks": {name: [way.to_json() for way in ways] for name, ways in tuning.ways.items()},
        "problems": tuning.problems,
        "seeds": [plan.seeds[0], plan.seeds[-1]],
        **asdict(Provenance.here(command)),
    }
    save_json(plan.run / REPORT, report)
    return tuning


def _is_settled(task: Task, plan: Plan, way: Way) -> bool:
    """Tell whether a way is as good as the expert already, by the table of references."""
    reference = tabled_reference(task, plan.seeds)
    if reference is None or not way.returns or reference.expert <= reference.random:
        return False
    return float(reference.normalized([way.mean], task=task.name)[0]) >= SETTLED


def _histories(plan: Plan, name: str) -> list[AgentTask]:
    """Return the task as it was trained, looking back as far as it can and, if taught, not at all.

    How an earlier tuning chose does not matter.
    """
    task = replace(plan.agent().task(name), sampling=Sampling())
    if not RunInfo.read(plan.run).history_dropout or plan.trained_history(name) is not None:
        return [task]
    return [replace(task, history=history) for history in (None, 1)]


def _samplings(task: AgentTask) -> list[AgentTask]:
    """Return a task with each way to choose its actions but the first, which was played."""
    kinds = {leaf.kind for leaf in task.spec.action_leaves.values()}
    samplings = CONTINUOUS if "continuous" in kinds else DISCRETE
    return [replace(task, sampling=sampling) for sampling in samplings[1:]]


def _play(
    plan: Plan,
    tasks: Sequence[Task],
    ways: Mapping[str, Sequence[AgentTask]],
    tuning: Tuning,
    on_progress: OnProgress,
) -> None:
    """Play every way of every task on the same seeds, and add what came of it."""
    rounds = [
        {name: found[number] for name, found in ways.items() if number < len(found)}
        for number in range(max(map(len, ways.values()), default=0))
    ]
    jobs = [job for i, chosen in enumerate(rounds) for job in _jobs(plan, tasks, chosen, str(i))]
    outcomes = run_episode_jobs(
        jobs, workers=plan.config.workers, environment={}, on_progress=on_progress
    )
    for outcome in outcomes:
        if outcome.error is not None:
            tuning.problems[outcome.name] = outcome.error
    for number, chosen in enumerate(rounds):
        episodes = sorted(episodes_of(outcomes, str(number)), key=lambda episode: episode.seed)
        for name, task in chosen.items():
            own = [e for e in episodes if e.task == name]
            returns = [e.episode_return for e in own if isinstance(e, PlayedEpisode)]
            for failed in (e for e in own if isinstance(e, FailedEpisode)):
                tuning.problems[name] = f"seed {failed.seed}: {failed.error}"
            whole = returns if len(returns) == len(plan.seeds) else []
            tuning.ways.setdefault(name, []).append(Way(task=task, returns=whole))


def _jobs(
    plan: Plan, tasks: Sequence[Task], ways: Mapping[str, AgentTask], condition: str
) -> list[Job]:
    playing = [task for task in tasks if task.name in ways]
    jobs = episode_jobs(plan.agent(), plan.run, playing, plan.seeds, plan.inference, ways)
    return [
        replace(job, name=f"{job.name}, way {condition}", key=replace(job.key, condition=condition))
        for job in jobs
    ]


def _part(on_progress: OnProgress, begin: int, percent: int) -> OnProgress:
    """Report a part of the work, which begins at some percent and takes some."""
    return lambda what, done, total: on_progress(what, begin + percent * done // total, 100)
