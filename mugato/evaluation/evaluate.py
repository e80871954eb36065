"""Evaluate a run: every task, question, caption and text that its agent was trained on.

A plan says what to do, jobs do it, and `EvaluationResults` hold what came of them. Nothing here
knows pages and tables: `reports` makes them from the results.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mugato.data.config import DatasetConfig
from mugato.data.metrics import TextMetric, metric_of
from mugato.data.registry import HELD_OUT
from mugato.evaluation.agent_info import AgentInfo, agent_info
from mugato.evaluation.config import (
    EvaluationConfig,
    InferenceConfig,
    Plan,
    find_tasks,
    make_plan,
)
from mugato.evaluation.episodes import EpisodeResult, FailedEpisode, PlayedEpisode
from mugato.evaluation.jobs import (
    JobKey,
    OnProgress,
    episode_jobs,
    episodes_of,
    results_of,
    run_episode_jobs,
)
from mugato.evaluation.language import language_inference, score_source
from mugato.evaluation.references import jat_reference, measure_reference, tabled_reference
from mugato.evaluation.results import (
    EvaluationInfo,
    EvaluationResults,
    Provenance,
    Video,
)
from mugato.evaluation.scores import Reference, TaskScores
from mugato.evaluation.video import film_episode, rendering_variables, video_name, write_mp4
from mugato.system.jobs import Job, Outcome
from mugato.system.optional import require
from mugato.system.workers import JobProgress
from mugato.tasks.task import Task
from mugato.training.run_info import is_played

# Episodes of 50 that take about as long as the job, for the order and for the progress bar.
VIDEO_COST, REFERENCE_COST, PICTURES_COST, TEXT_COST = 1.0, 3.0, 25.0, 15.0


def evaluate(
    run: str | Path,
    config: EvaluationConfig = EvaluationConfig(),
    *,
    on_progress: OnProgress = lambda what, done, total: None,
    command: str = "mugato.evaluate",
    started: float | None = None,
) -> EvaluationResults:
    """Score the agent in a run's folder, and write `report.json` there.

    A task that fails leaves the others as they are; the results say why it has no score. Where all
    failed nothing is written, so that a report that is there stays.

    Args:
        on_progress: called with (what is at work, percent done, 100).
        command: what was asked for, kept with the results.
        started: when the whole undertaking began, in seconds since 1970.

    Raises:
        ValueError: no agent in `run`, or an unknown task; ImportError: no package for intervals.
    """
    begun = time.time()
    require("scipy.stats", extra="report")  # asked for before hours are played
    plan = make_plan(run, config)
    agent = agent_info(plan)  # before: what is scored are the weights that lie there now
    tasks, problems = find_tasks(plan)
    outcomes = run_episode_jobs(
        plan_jobs(plan, tasks),
        workers=config.workers,
        environment=rendering_variables() if config.videos and tasks else {},
        on_progress=on_progress,
    )
    now, origin = time.time(), Provenance.here(command)
    took = (now - begun, now - (begun if started is None else started))
    results = _results(
        plan, tasks, outcomes, agent=agent, problems=problems, provenance=origin, seconds=took
    )
    if not results.all_failed:
        results.save()
    return results


def plan_jobs(plan: Plan, tasks: Sequence[Task]) -> list[Job]:
    """Return everything to do, as jobs."""
    agent = plan.agent()
    jobs = episode_jobs(agent, plan.run, tasks, plan.seeds, plan.inference)
    for task in tasks:
        if tabled_reference(task, plan.seeds) is None:
            measure = partial(_measure, task, plan.seeds, plan.demonstrations(task.name))
            key = JobKey(part="reference", name=task.name)
            name = f"references of {task.name}"
            jobs.append(Job(name=name, key=key, run=measure, cost=REFERENCE_COST))
        if plan.config.videos:
            film = partial(_film, plan.run, task, plan.video_seed, plan.inference)
            key = JobKey(part="video", name=task.name)
            jobs.append(Job(name=f"video of {task.name}", key=key, run=film, cost=VIDEO_COST))
    for source in plan.sources:
        if (metric := metric_of(agent.spec(source))) is not None:
            score = partial(score_source, plan.run, source, language_inference(plan.inference))
            cost = TEXT_COST if isinstance(metric, TextMetric) else PICTURES_COST
            key = JobKey(part="source", name=source)
            jobs.append(Job(name=source, key=key, run=score, cost=cost))
    return jobs


def task_scores(
    tasks: Sequence[Task],
    episodes: Sequence[EpisodeResult],
    references: Mapping[str, Reference | None],
) -> tuple[dict[str, TaskScores], dict[str, str]]:
    """Put each task's episodes beside its reference, if any; also return what went wrong."""
    found, problems = {}, {}
    for task in tasks:
        own = sorted((e for e in episodes if e.task == task.name), key=lambda e: e.seed)
        played = [e for e in own if isinstance(e, PlayedEpisode)]
        failed = {e.seed: e.error for e in own if isinstance(e, FailedEpisode)}
        reference = references.get(task.name)
        if failed:
            seed, error = next(iter(failed.items()))
            problem = f"{len(failed)} of {len(own)} episodes failed: seed {seed}: {error}"
            problems[task.name] = problem
        if played:
            found[task.name] = _scores(task, played, failed, reference)
    return found, problems


def _scores(
    task: Task,
    played: Sequence[PlayedEpisode],
    failed: Mapping[int, str],
    reference: Reference | None,
) -> TaskScores:
    returns = [episode.episode_return for episode in played]
    knows_failure = task.failure_return is not None
    return TaskScores(
        name=task.name,
        domain=task.domain,
        seeds=[episode.seed for episode in played],
        returns=returns,
        reference=reference,
        length_mean=sum(episode.length for episode in played) / len(played),
        max_episode_steps=task.max_episode_steps,
        success=sum(map(task.succeeded, returns)) / len(played) if knows_failure else None,
        failed=failed,
        jat_name=task.jat_name,
        jat=jat_reference(task.jat_name),
    )


def _results(
    plan: Plan,
    tasks: Sequence[Task],
    outcomes: Sequence[Outcome],
    *,
    agent: AgentInfo,
    problems: Mapping[str, str],
    provenance: Provenance,
    seconds: tuple[float, float],
) -> EvaluationResults:
    """Sort the outcomes by what they are about.

    Args:
        seconds: that the evaluation took, and the undertaking that it ends.
    """
    measured = results_of(outcomes, "reference")
    references = {t.name: tabled_reference(t, plan.seeds) or measured.get(t.name) for t in tasks}
    scores, broken = task_scores(tasks, episodes_of(outcomes), references)
    failed = {o.name: o.error for o in outcomes if o.error is not None}
    unranked = {name: found.fault for name, found in scores.items() if not found.has_score}
    return EvaluationResults(
        run=plan.run,
        tasks=scores,
        sources=results_of(outcomes, "source"),
        videos=results_of(outcomes, "video"),
        agent=agent,
        missing=_missing(plan),
        problems={**problems, **broken, **failed, **unranked},
        evaluation=_evaluation_info(plan, outcomes, seconds[0]),
        provenance=provenance,
        total_seconds=seconds[1],
    )


def _evaluation_info(plan: Plan, outcomes: Sequence[Outcome], seconds: float) -> EvaluationInfo:
    inference, agent = plan.inference, plan.agent()
    return EvaluationInfo(
        samplings={n: inference.sampling or agent.task(n).sampling for n in plan.tasks},
        histories={n: agent.history(n) for n in plan.tasks},
        seconds=seconds,
        episodes=plan.config.episodes,
        seeds=[plan.seeds[0], plan.seeds[-1]],
        sampling=inference.sampling,
        sampling_seed=int(inference.seed),
        precision=inference.precision,
        language_precision=language_inference(inference).precision,
        device=inference.device,
        workers=plan.config.workers,
        job_seconds={outcome.name: round(outcome.seconds, 1) for outcome in outcomes},
    )


def _missing(plan: Plan) -> list[str]:
    """List what the agent was trained on but has no score, and what to know of its sources."""
    agent = plan.agent()
    sources = [dataset for dataset in plan.datasets if not is_played(dataset)]
    metrics = {dataset.name: metric_of(agent.spec(dataset.name)) for dataset in sources}
    missing = []
    for dataset in sources:
        if metrics[dataset.name] is None:
            missing.append(f"trained on {dataset.name}, which has no metric")
        elif dataset.split in ("all", *HELD_OUT) and dataset.name in plan.sources:
            missing.append(
                f"trained on {dataset.name}'s split {dataset.split!r}: what is called held out "
                "may have been seen"
            )
    for dataset in plan.datasets:
        if dataset.name in plan.tasks and (made := made_with(dataset)):
            missing.append(f"{dataset.name} {made}")
    if plan.left_out:
        missing.append(f"left out on request: {', '.join(plan.left_out)}")
    return missing


def made_with(dataset: DatasetConfig) -> str:
    """Say in what an environment differs from the one that its id alone stands for.

    >>> made_with(DatasetConfig(name="CartPole-v1", demonstrations="x", env_kwargs={"size": 6}))
    'is made with size=6'
    """
    given = [f"{name}={value!r}" for name, value in dataset.env_kwargs.items()]
    parts = [f"made with {', '.join(given)}"] if given else []
    parts += [f"wrapped in {', '.join(dataset.wrappers)}"] if dataset.wrappers else []
    return f"is {' and '.join(parts)}" if parts else ""


def _measure(
    task: Task, seeds: Sequence[int], demonstrations: str | None, progress: JobProgress
) -> Reference:
    return measure_reference(task, seeds, demonstrations=demonstrations)


def _film(
    run: Path, task: Task, seed: int, inference: InferenceConfig, progress: JobProgress
) -> Video:
    film = film_episode(run, task, seed=seed, inference=inference)
    path = Path("videos") / video_name(task.name)
    write_mp4(film, run / path)
    return Video(
        path=path,
        seed=seed,
        episode_return=film.episode_return,
        length=film.length,
        texts=film.texts,
    )
