"""An evaluation as jobs: what they are about, which episodes share one, which are played again.

Tasks that look and act alike (all BabyAI levels, all arms of Meta-World) share batches. Who plays
together depends on the plan alone, never on the number of workers, and so does every result.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import Agent, AgentTask
from mugato.evaluation.config import load_agent
from mugato.evaluation.episodes import (
    TRIES,
    EpisodeRequest,
    EpisodeResult,
    FailedEpisode,
    most_envs,
    play_episodes,
)
from mugato.system.jobs import Job, Outcome, run_jobs
from mugato.system.workers import JobProgress
from mugato.tasks.task import Task

# A job is long enough to fill its batch several times, short enough to give all processes some.
BATCHES_PER_JOB = 3
# Episodes of a task that kill their process before the rest of the task is given up.
MAX_DEADLY = 3


OnProgress = Callable[[str, int, int], None]  # called with (what is at work, percent done, 100)


@dataclass(frozen=True, kw_only=True)
class JobKey:
    """What a job is about, and so where its result belongs.

    Attributes:
        part: which part of the evaluation.
        name: a task or source; empty for episodes of several tasks, whose results name them.
        condition: under which episodes are played, in an ablation or while tuning.
    """

    part: Literal["episodes", "reference", "video", "source"]
    name: str = ""
    condition: str = ""


@dataclass(frozen=True, kw_only=True)
class PlayEpisodes:
    """A job's work: episodes that step together, by the agent in a folder.

    Attributes:
        ways: how it acts in some tasks, in the place of how it does by itself.
    """

    folder: Path
    requests: tuple[EpisodeRequest, ...]
    inference: InferenceConfig
    ways: Mapping[str, AgentTask] = field(default_factory=dict)

    def __call__(self, progress: JobProgress) -> list[EpisodeResult]:
        agent = load_agent(self.folder, self.inference.device)
        agent = replace(agent, tasks={**agent.tasks, **self.ways})
        return play_episodes(agent, self.requests, inference=self.inference, progress=progress)


def episode_jobs(
    agent: Agent,
    folder: Path,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    inference: InferenceConfig,
    ways: Mapping[str, AgentTask] | None = None,
) -> list[Job]:
    """Make jobs of all episodes of all tasks, those with one spec side by side.

    Args:
        ways: how the agent acts in some tasks, in the place of how it does by itself.
    """
    agent = replace(agent, tasks={**agent.tasks, **(ways or {})})
    groups: dict[str, list[EpisodeRequest]] = defaultdict(list)
    for task in tasks:
        alike = json.dumps(agent.task(task.name).to_json(), sort_keys=True)
        groups[alike] += [EpisodeRequest(task=task, seed=seed) for seed in seeds]
    jobs, wanted = [], BATCHES_PER_JOB * most_envs(inference)
    for requests in groups.values():
        size = -(-len(requests) // max(1, round(len(requests) / wanted)))
        for start in range(0, len(requests), size):
            part = tuple(requests[start : start + size])
            work = PlayEpisodes(folder=folder, requests=part, inference=inference, ways=ways or {})
            jobs.append(_job(agent, work))
    return jobs


def run_episode_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    environment: Mapping[str, str],
    on_progress: OnProgress = lambda what, done, total: None,
) -> list[Outcome]:
    """Run jobs, as `run_jobs`; an episode whose process dies costs no other one.

    It is tried again alone, once. Its outcomes have the key of the job that it was in.
    """
    outcomes: list[Outcome] = []
    deaths = Counter[tuple[str, int]]()
    waiting = list(jobs)
    progress = _percent(jobs, on_progress)
    while waiting:
        works = {job.name: job.run for job in waiting if isinstance(job.run, PlayEpisodes)}
        finished = run_jobs(waiting, workers=workers, environment=environment, progress=progress)
        waiting = list[Job]()
        dead = [o for o in finished if o.place is not None]  # only these jobs say where they are
        deaths.update(_key(works[o.name].requests[o.place or 0]) for o in dead)
        outcomes += [o for o in finished if o.place is None]
        for outcome in dead:
            failed, again = _after_death(works[outcome.name], outcome, deaths)
            outcomes.append(replace(outcome, error=None, result=failed, place=None))
            waiting += [
                Job(name=f"{outcome.name}, again {i}", run=work, key=outcome.key)
                for i, work in enumerate(again, 1)
            ]
    return outcomes


def results_of(outcomes: Sequence[Outcome], part: str) -> dict[str, Any]:
    """Return the results of a part's jobs that did not fail, by task or source."""
    found = [o for o in outcomes if o.key.part == part and o.error is None]
    return {outcome.key.name: outcome.result for outcome in found}


def episodes_of(outcomes: Sequence[Outcome], condition: str = "") -> list[EpisodeResult]:
    """Return all episodes that were played under a condition."""
    key = ("episodes", condition)
    jobs = [o for o in outcomes if (o.key.part, o.key.condition) == key and o.error is None]
    return [episode for job in jobs for episode in job.result]


def _percent(jobs: Sequence[Job], on_progress: OnProgress) -> OnProgress:
    """Report the progress over all jobs, each weighing what it costs.

    What is done again is not counted.
    """
    costs = {job.name: job.cost for job in jobs}
    shares = dict.fromkeys(costs, 0.0)

    def advance(name: str, done: int, total: int) -> None:
        if name in shares:
            shares[name] = done / total
        whole = sum(costs[job] * share for job, share in shares.items()) / sum(costs.values())
        on_progress(name, round(100 * whole), 100)

    return advance


def _after_death(
    work: PlayEpisodes, outcome: Outcome, deaths: Mapping[tuple[str, int], int]
) -> tuple[list[EpisodeResult], list[PlayEpisodes]]:
    """Return the episodes that failed for good, and what is left to play: the culprit by itself."""
    assert outcome.place is not None and outcome.error is not None
    culprit = work.requests[outcome.place]
    deadly = Counter(name for (name, _), times in deaths.items() if times >= TRIES)
    failed: list[EpisodeResult] = []
    others, alone = list[EpisodeRequest](), list[EpisodeRequest]()
    for request in work.requests:
        times = deadly[request.task.name]
        if request is culprit and deaths[_key(culprit)] >= TRIES:
            failed.append(_failure(culprit, outcome.error))
        elif times >= MAX_DEADLY:
            reason = f"not played: {times} other episodes of the task killed their processes"
            failed.append(_failure(request, reason))
        else:
            (alone if request is culprit else others).append(request)
    return failed, [replace(work, requests=tuple(p)) for p in (others, alone) if p]


def _key(request: EpisodeRequest) -> tuple[str, int]:
    return request.task.name, request.seed


def _failure(request: EpisodeRequest, reason: str) -> FailedEpisode:
    return FailedEpisode(task=request.task.name, seed=request.seed, error=reason)


def _job(agent: Agent, work: PlayEpisodes) -> Job:
    counts = Counter(a.task.name for a in work.requests)
    seeds = [a.seed for a in work.requests]
    others = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
    name = f"{next(iter(counts))}{others}, seeds {seeds[0]} to {seeds[-1]}"
    cost = max(1.0, _cost(agent, work.requests))
    return Job(name=name, run=work, cost=cost, key=JobKey(part="episodes"))


def _cost(agent: Agent, requests: Sequence[EpisodeRequest]) -> float:
    """Estimate the time, as if all episodes lasted as long as they may.

    10,000 forward passes are about a second.
    """
    passes: Mapping[str, int] = {
        a.task.name: sum(leaf.size for leaf in agent.spec(a.task.name).action_leaves.values())
        for a in requests
    }
    return sum(a.task.max_episode_steps * passes[a.task.name] for a in requests) / 1000
