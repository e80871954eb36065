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
    Acting,
    Assignment,
    FailedEpisode,
    Played,
    load_agent,
    play_episodes,
)
from mugato.system.workers import Job, JobProgress, Outcome, run_jobs
from mugato.tasks.task import Task

# A job is long enough to fill its batch several times, short enough to give all processes some.
BATCHES_PER_JOB = 3
# Episodes of a task that kill their process before the rest of the task is given up.
MAX_DEADLY = 3


@dataclass(frozen=True, kw_only=True)
class PlayEpisodes:
    """A job's work: episodes that step together, by the agent in a folder."""

    folder: str
    assignments: tuple[Assignment, ...]
    acting: Acting

    def __call__(self, progress: JobProgress) -> list[Played]:
        agent = load_agent(self.folder, self.acting.device)
        return play_episodes(agent, self.assignments, acting=self.acting, progress=progress)


def episode_jobs(
    agent: Agent, folder: str, tasks: Sequence[Task], seeds: Sequence[int], acting: Acting
) -> list[Job]:
    """All episodes of all tasks, those with one spec side by side."""
    groups: dict[str, list[Assignment]] = defaultdict(list)
    for task in tasks:
        alike = json.dumps(agent.task(task.name).to_json(), sort_keys=True)
        groups[alike] += [Assignment(task=task, seed=seed) for seed in seeds]
    jobs, wanted = [], BATCHES_PER_JOB * MAX_ENVS[acting.device]
    for assignments in groups.values():
        size = -(-len(assignments) // max(1, round(len(assignments) / wanted)))
        for start in range(0, len(assignments), size):
            part = tuple(assignments[start : start + size])
            jobs.append(_job(agent, PlayEpisodes(folder=folder, assignments=part, acting=acting)))
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
        deaths.update(_key(works[o.name].assignments[o.place or 0]) for o in dead)
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
) -> tuple[list[Played], list[PlayEpisodes]]:
    """Which episodes have failed for good, and what is left to play: the culprit by itself."""
    assert outcome.place is not None and outcome.error is not None
    culprit = work.assignments[outcome.place]
    deadly = Counter(name for (name, _), times in deaths.items() if times >= TRIES)
    failed: list[Played] = []
    others, alone = list[Assignment](), list[Assignment]()
    for assignment in work.assignments:
        times = deadly[assignment.task.name]
        if assignment is culprit and deaths[_key(culprit)] >= TRIES:
            failed.append(_failure(culprit, outcome.error))
        elif times >= MAX_DEADLY:
            reason = f"not played: {times} other episodes of the task killed their processes"
            failed.append(_failure(assignment, reason))
        else:
            (alone if assignment is culprit else others).append(assignment)
    return failed, [replace(work, assignments=tuple(p)) for p in (others, alone) if p]


def _key(assignment: Assignment) -> tuple[str, int]:
    return assignment.task.name, assignment.seed


def _failure(assignment: Assignment, reason: str) -> FailedEpisode:
    return FailedEpisode(task=assignment.task.name, seed=assignment.seed, error=reason)


def _job(agent: Agent, work: PlayEpisodes) -> Job:
    counts = Counter(a.task.name for a in work.assignments)
    seeds = [a.seed for a in work.assignments]
    others = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
    name = f"{next(iter(counts))}{others}, seeds {seeds[0]} to {seeds[-1]}"
    return Job(name=name, run=work, cost=max(1.0, _cost(agent, work.assignments)))


def _cost(agent: Agent, assignments: Sequence[Assignment]) -> float:
    """At worst, all episodes last as long as they may; 10,000 forward passes are about a second."""
    passes: Mapping[str, int] = {
        a.task.name: sum(leaf.size for leaf in agent.spec(a.task.name).action_leaves.values())
        for a in assignments
    }
    return sum(a.task.max_episode_steps * passes[a.task.name] for a in assignments) / 1000
