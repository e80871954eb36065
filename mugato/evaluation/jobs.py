"""Episodes as jobs: which are played together, and which again when a process dies.

Tasks that look and act alike (all BabyAI levels, all arms of Meta-World) share batches. Who plays
together depends on the plan alone, never on the number of workers, and so does every result.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mugato.agent import Agent
from mugato.evaluation.episodes import (
    MAX_ENVS,
    TRIES,
    EpisodeRequest,
    EpisodeResult,
    FailedEpisode,
    InferenceConfig,
    load_agent,
    play_episodes,
)
from mugato.system.jobs import Job, Outcome, run_jobs
from mugato.system.workers import JobProgress
from mugato.tasks.task import Task

# A job is long enough to fill its batch several times, short enough to give all processes some.
BATCHES_PER_JOB = 3
# Episodes of a task that kill their process before the rest of the task is given up.
MAX_DEADLY = 3


@dataclass(frozen=True, kw_only=True)
class PlayEpisodes:
    """A job's work: episodes that step together, by the agent in a folder."""

    folder: str
    requests: tuple[EpisodeRequest, ...]
    inference: InferenceConfig

    def __call__(self, progress: JobProgress) -> list[EpisodeResult]:
        agent = load_agent(self.folder, self.inference.device)
        return play_episodes(agent, self.requests, inference=self.inference, progress=progress)


def episode_jobs(
    agent: Agent,
    folder: str,
    tasks: Sequence[Task],
    seeds: Sequence[int],
    inference: InferenceConfig,
) -> list[Job]:
    """All episodes of all tasks, those with one spec side by side."""
    groups: dict[str, list[EpisodeRequest]] = defaultdict(list)
    for task in tasks:
        alike = json.dumps(agent.task(task.name).to_json(), sort_keys=True)
        groups[alike] += [EpisodeRequest(task=task, seed=seed) for seed in seeds]
    jobs, wanted = [], BATCHES_PER_JOB * MAX_ENVS[inference.device]
    for requests in groups.values():
        size = -(-len(requests) // max(1, round(len(requests) / wanted)))
        for start in range(0, len(requests), size):
            part = tuple(requests[start : start + size])
            jobs.append(
                _job(agent, PlayEpisodes(folder=folder, requests=part, inference=inference))
            )
    return jobs


def run_episode_jobs(jobs: Sequence[Job], **options: Any) -> list[Outcome]:
    """As `run_jobs`; an episode whose process dies is tried again alone, and costs no other one."""
    outcomes: list[Outcome] = []
    deaths = Counter[tuple[str, int]]()
    waiting = list(jobs)
    while waiting:
        works = {job.name: job.run for job in waiting if isinstance(job.run, PlayEpisodes)}
        finished, waiting = run_jobs(waiting, **options), list[Job]()
        dead = [o for o in finished if o.place is not None]  # only these jobs say where they are
        deaths.update(_key(works[o.name].requests[o.place or 0]) for o in dead)
        outcomes += [o for o in finished if o.place is None]
        for outcome in dead:
            failed, again = _after_death(works[outcome.name], outcome, deaths)
            outcomes.append(replace(outcome, error=None, result=failed, place=None))
            waiting += [
                Job(name=f"{outcome.name}, again {i}", run=work) for i, work in enumerate(again, 1)
            ]
    return outcomes


def _after_death(
    work: PlayEpisodes, outcome: Outcome, deaths: Mapping[tuple[str, int], int]
) -> tuple[list[EpisodeResult], list[PlayEpisodes]]:
    """Which episodes have failed for good, and what is left to play: the culprit by itself."""
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
    return Job(name=name, run=work, cost=max(1.0, _cost(agent, work.requests)))


def _cost(agent: Agent, requests: Sequence[EpisodeRequest]) -> float:
    """At worst, all episodes last as long as they may; 10,000 forward passes are about a second."""
    passes: Mapping[str, int] = {
        a.task.name: sum(leaf.size for leaf in agent.spec(a.task.name).action_leaves.values())
        for a in requests
    }
    return sum(a.task.max_episode_steps * passes[a.task.name] for a in requests) / 1000
