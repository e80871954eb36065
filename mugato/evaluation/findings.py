"""What there is to find out about a run, as jobs, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mugato.evaluation.contents import find_task
from mugato.evaluation.episodes import Acting, FailedEpisode, Played, PlayedEpisode, load_agent
from mugato.evaluation.jobs import episode_jobs
from mugato.evaluation.language import CAPTIONS, QUESTIONS, TEXT, TextFindings, language_jobs
from mugato.evaluation.pictures import Answers
from mugato.evaluation.plan import Plan
from mugato.evaluation.references import measure_reference, tabled_reference
from mugato.evaluation.scores import Reference, TaskScores
from mugato.evaluation.video import film_episode, write_mp4
from mugato.system.workers import Job, JobProgress, Outcome
from mugato.tasks.task import Task

# Episodes of 50 that take about as long as the job, for the order and for the progress bar.
VIDEO_COST, REFERENCE_COST = 1.0, 3.0
_VIDEO, _REFERENCE = "video of ", "references of "


@dataclass(frozen=True, kw_only=True)
class Video:
    """A film on disk and what happens in it."""

    path: Path
    seed: int
    episode_return: float
    length: int
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All results by task or source; what failed is in `problems`, one line each.

    Attributes:
        seconds: how long each job took.
    """

    tasks: Mapping[str, TaskScores]
    videos: Mapping[str, Video]
    questions: Answers | None
    captions: Answers | None
    text: TextFindings | None
    problems: Mapping[str, str]
    seconds: Mapping[str, float]


def plan_jobs(plan: Plan, tasks: Sequence[Task]) -> list[Job]:
    """Everything to do."""
    folder = str(plan.run)
    agent = load_agent(folder, plan.acting.device)
    jobs = episode_jobs(agent, folder, tasks, plan.seeds, plan.acting)
    for task in tasks:
        if tabled_reference(task, plan.seeds) is None:
            demonstrations = plan.contents.demonstrations.get(task.name)
            measure = partial(_reference, task, plan.seeds, demonstrations)
            jobs.append(Job(name=f"{_REFERENCE}{task.name}", run=measure, cost=REFERENCE_COST))
        if plan.videos:
            film = partial(_film, folder, task, plan.video_seed, plan.acting)
            jobs.append(Job(name=f"{_VIDEO}{task.name}", run=film, cost=VIDEO_COST))
    return [*jobs, *language_jobs(plan)]


def find_tasks(names: Sequence[str]) -> tuple[list[Task], dict[str, str]]:
    """The tasks, and why some names have none here."""
    tasks, problems = [], {}
    for name in names:
        try:
            tasks.append(find_task(name))
        except (ValueError, ImportError) as error:
            problems[name] = str(error)
    return tasks, problems


def collect(
    plan: Plan, tasks: Sequence[Task], outcomes: Sequence[Outcome], problems: Mapping[str, str]
) -> Findings:
    """Sort the outcomes by what they are about."""
    failed = {o.name: o.error for o in outcomes if o.error is not None}
    results: dict[str, Any] = {o.name: o.result for o in outcomes if o.error is None}
    videos = {name.removeprefix(_VIDEO): r for name, r in results.items() if isinstance(r, Video)}
    played = [e for r in results.values() if isinstance(r, list) for e in r]
    references = {
        task.name: tabled_reference(task, plan.seeds) or results.get(f"{_REFERENCE}{task.name}")
        for task in tasks
    }
    scores, broken = task_scores(tasks, played, references)
    return Findings(
        tasks=scores,
        videos=videos,
        questions=results.get(QUESTIONS),
        captions=results.get(CAPTIONS),
        text=results.get(TEXT),
        problems={**problems, **broken, **failed},
        seconds={outcome.name: outcome.seconds for outcome in outcomes},
    )


def task_scores(
    tasks: Sequence[Task], episodes: Sequence[Played], references: Mapping[str, Reference | None]
) -> tuple[dict[str, TaskScores], dict[str, str]]:
    """Each task's episodes beside its reference, in the order of the seeds; and what went wrong."""
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


def _film(run: str, task: Task, seed: int, acting: Acting, progress: JobProgress) -> Video:
    film = film_episode(run, task, seed=seed, acting=acting)
    name = task.name.replace("/", "-").replace(":", "-")
    path = Path(run) / "videos" / f"{name}.mp4"
    path.parent.mkdir(exist_ok=True)
    write_mp4(film, path)
    return Video(
        path=path,
        seed=seed,
        episode_return=film.episode_return,
        length=film.length,
        texts=film.texts,
    )
