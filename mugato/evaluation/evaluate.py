"""Evaluate a run: every task, question, caption and text that its agent was trained on."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mugato.evaluation.config import EvaluationConfig, Plan, find_tasks, make_plan
from mugato.evaluation.episodes import (
    EpisodeResult,
    FailedEpisode,
    InferenceConfig,
    PlayedEpisode,
    load_agent,
)
from mugato.evaluation.jobs import episode_jobs, run_episode_jobs
from mugato.evaluation.language import CAPTIONS, QUESTIONS, TEXT, language_jobs
from mugato.evaluation.references import measure_reference, tabled_reference
from mugato.evaluation.results import EvaluationResults, Video, now
from mugato.evaluation.scores import Reference, TaskScores
from mugato.evaluation.video import film_episode, rendering_variables, write_mp4
from mugato.system.jobs import Job, Outcome
from mugato.system.workers import JobProgress
from mugato.tasks.task import Task

OnProgress = Callable[[str, int, int], None]  # called with (what is at work, done, of how many)

# Episodes of 50 that take about as long as the job, for the order and for the progress bar.
VIDEO_COST, REFERENCE_COST = 1.0, 3.0
_VIDEO, _REFERENCE = "video of ", "references of "


def evaluate(
    run: str | Path,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    on_progress: OnProgress = lambda what, done, total: None,
    command: str = "mugato.evaluate",
    started: float | None = None,
) -> EvaluationResults:
    """Score the agent in a run's folder, and write `report.json` there.

    A task that fails leaves the others as they are; the results say why it has no score.

    Args:
        on_progress: called with (what is at work, percent done, 100).
        command: what was asked for, kept with the results.
        started: when the whole undertaking began, in seconds since 1970.

    Raises:
        ValueError: no agent in `run`, or an unknown task.
    """
    begun = time.time()
    plan = make_plan(Path(run), config)
    tasks, problems = find_tasks(plan.names)
    jobs = plan_jobs(plan, tasks)
    environment = rendering_variables() if config.videos and tasks else {}
    outcomes = run_episode_jobs(
        jobs,
        workers=config.workers,
        environment=environment,
        progress=percent(jobs, on_progress),
    )
    results = EvaluationResults(
        plan=plan,
        **_sorted(plan, tasks, outcomes, problems),
        seconds=time.time() - begun,
        total_seconds=time.time() - (begun if started is None else started),
        command=command,
        date=now(),
    )
    results.save()
    return results


def plan_jobs(plan: Plan, tasks: Sequence[Task]) -> list[Job]:
    """Return everything to do, as jobs."""
    folder = str(plan.run)
    agent = load_agent(folder, plan.inference.device)
    jobs = episode_jobs(agent, folder, tasks, plan.seeds, plan.inference)
    for task in tasks:
        if tabled_reference(task, plan.seeds) is None:
            demonstrations = plan.contents.demonstrations.get(task.name)
            measure = partial(_reference, task, plan.seeds, demonstrations)
            jobs.append(Job(name=f"{_REFERENCE}{task.name}", run=measure, cost=REFERENCE_COST))
        if plan.config.videos:
            film = partial(_film, folder, task, plan.video_seed, plan.inference)
            jobs.append(Job(name=f"{_VIDEO}{task.name}", run=film, cost=VIDEO_COST))
    return [*jobs, *language_jobs(plan)]


def _sorted(
    plan: Plan, tasks: Sequence[Task], outcomes: Sequence[Outcome], problems: Mapping[str, str]
) -> dict[str, Any]:
    """Sort the outcomes by what they are about."""
    failed = {o.name: o.error for o in outcomes if o.error is not None}
    results: dict[str, Any] = {o.name: o.result for o in outcomes if o.error is None}
    played = [e for r in results.values() if isinstance(r, list) for e in r]
    references = {
        task.name: tabled_reference(task, plan.seeds) or results.get(f"{_REFERENCE}{task.name}")
        for task in tasks
    }
    scores, broken = task_scores(tasks, played, references)
    return {
        "tasks": scores,
        "videos": {r.task: r for r in results.values() if isinstance(r, Video)},
        "questions": results.get(QUESTIONS),
        "captions": results.get(CAPTIONS),
        "text": results.get(TEXT),
        "problems": {**problems, **broken, **failed},
        "job_seconds": {outcome.name: outcome.seconds for outcome in outcomes},
    }


def percent(jobs: Sequence[Job], on_progress: OnProgress) -> OnProgress:
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


def task_scores(
    tasks: Sequence[Task],
    episodes: Sequence[EpisodeResult],
    references: Mapping[str, Reference | None],
) -> tuple[dict[str, TaskScores], dict[str, str]]:
    """Put each task's episodes beside its reference, by seed; also return what went wrong."""
    found, problems = {}, {}
    for task in tasks:
        name = task.name
        own = sorted((e for e in episodes if e.task == name), key=lambda episode: episode.seed)
        played = [e for e in own if isinstance(e, PlayedEpisode)]
        failed = {e.seed: e.error for e in own if isinstance(e, FailedEpisode)}
        reference = references.get(name)
        if failed:
            seed, error = next(iter(failed.items()))
            problems[name] = f"{len(failed)} of {len(own)} episodes failed: seed {seed}: {error}"
        if played and reference is not None:
            found[name] = _scores(task, played, failed, reference)
    return found, problems


def _scores(
    task: Task,
    played: Sequence[PlayedEpisode],
    failed: Mapping[int, str],
    reference: Reference,
) -> TaskScores:
    return TaskScores(
        name=task.name,
        domain=task.domain,
        seeds=[episode.seed for episode in played],
        returns=[episode.episode_return for episode in played],
        lengths=[episode.length for episode in played],
        reference=reference,
        max_episode_steps=task.max_episode_steps,
        failure_return=task.failure_return,
        jat_name=task.jat_name,
        failed=failed,
    )


def _reference(
    task: Task, seeds: Sequence[int], demonstrations: str | None, progress: JobProgress
) -> Reference:
    return measure_reference(task, seeds, demonstrations=demonstrations)


def _film(
    run: str, task: Task, seed: int, inference: InferenceConfig, progress: JobProgress
) -> Video:
    film = film_episode(run, task, seed=seed, inference=inference)
    name = task.name.replace("/", "-").replace(":", "-")
    path = Path(run) / "videos" / f"{name}.mp4"
    path.parent.mkdir(exist_ok=True)
    write_mp4(film, path)
    return Video(
        task=task.name,
        path=path,
        seed=seed,
        episode_return=film.episode_return,
        length=film.length,
        texts=film.texts,
    )
