"""What an evaluation found: typed, and as the numbers of `report.json`."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.evaluation.config import Plan
from mugato.evaluation.episodes import load_agent
from mugato.evaluation.jat import jat_reference
from mugato.evaluation.language import (
    CAPTIONS,
    QUESTIONS,
    TEXT,
    TextFindings,
    language_inference,
    scored_sources,
)
from mugato.evaluation.pictures import Answers
from mugato.evaluation.scores import Reference, TaskScores, interval, summary
from mugato.system.files import write_whole
from mugato.system.machine import describe_machine, git_commit, package_versions
from mugato.training.run_info import RunInfo

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class Video:
    """A film on disk and what happens in it."""

    task: str
    path: Path
    seed: int
    episode_return: float
    length: int
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """All results by task or source; what failed is in `problems`, one line each.

    Attributes:
        plan: what was evaluated, and how.
        tasks: each control task's episodes beside its references.
        videos: one more episode of each task.
        questions, captions, text: what the agent's sources of each kind gave; None without one.
        seconds, total_seconds: of the evaluation, and of the undertaking that it ends.
        job_seconds: how long each job took.
        command: what was asked for, to be run again.
        date: when it ended, ISO 8601.
    """

    plan: Plan
    tasks: Mapping[str, TaskScores]
    videos: Mapping[str, Video]
    questions: Answers | None
    captions: Answers | None
    text: TextFindings | None
    problems: Mapping[str, str]
    seconds: float
    total_seconds: float
    job_seconds: Mapping[str, float]
    command: str
    date: str

    @property
    def mean_normalized_score(self) -> float | None:
        """Mean over tasks that have a normalized score; None if none has."""
        scored = [s for s in self.tasks.values() if s.reference.expert > s.reference.random]
        return float(np.mean([s.normalized().mean() for s in scored])) if scored else None

    def to_json(self) -> dict[str, Any]:
        """Return all numbers; a part that the run has no source for is left out, and named."""
        problems = dict(self.problems)
        tasks = {name: task_row(scores, problems) for name, scores in self.tasks.items()}
        for name, video in self.videos.items():
            if name in tasks:
                tasks[name]["video"] = _video_row(video, self.plan.run)
        data = {"tasks": tasks, **summaries(self.tasks.values()), **_language(self)}
        data["train"] = _training(self.plan)
        data["missing"] = _missing(self.plan)
        data["problems"] = problems
        data["evaluation"] = _evaluation(self)
        data["machine"] = describe_machine()
        data["versions"] = package_versions()
        data["commit"] = git_commit()
        data["command"] = self.command
        data["date"] = self.date
        data["total_seconds"] = self.total_seconds
        return data

    def save(self) -> None:
        """Write the numbers into the run's folder, whole or not at all."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(self.plan.run / REPORT, lambda path: path.write_text(text, "utf-8"))


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def task_row(scores: TaskScores, problems: dict[str, str]) -> dict[str, Any]:
    """One task's numbers; without a score where the references allow none, which is a problem."""
    reference = scores.reference
    try:
        episodes = scores.normalized()
    except ValueError as error:
        problems[scores.name] = str(error)
        episodes = None
    return {
        "domain": scores.domain,
        "return_mean": float(np.mean(scores.returns)),
        "return_std": float(np.std(scores.returns)),
        "success": scores.success,
        "expert": reference.expert,
        "expert_is": reference.expert_is,
        "random": reference.random,
        "references": reference.measured,
        "normalized_score": None if episodes is None else float(episodes.mean()),
        "ci95": None if episodes is None else list(interval(episodes)),
        "jat": _jat_row(scores),
        "episodes": len(scores.returns),
        "seeds": [min(scores.seeds), max(scores.seeds)],
        "failed": {str(seed): reason for seed, reason in scores.failed.items()},
        "length_mean": float(np.mean(scores.lengths)),
        "max_episode_steps": scores.max_episode_steps,
        "returns": list(scores.returns),
    }


def summaries(tasks: Iterable[TaskScores]) -> dict[str, Any]:
    """Aggregates over all scored tasks, over each domain's, and against JAT's references.

    Tasks whose reference is degenerate have no score and are in none of them.
    """
    ours: dict[str, Float[np.ndarray, " episodes"]] = {}
    theirs: dict[str, Float[np.ndarray, " episodes"]] = {}
    domains: dict[str, dict[str, Float[np.ndarray, " episodes"]]] = {}
    for scores in tasks:
        if scores.reference.expert > scores.reference.random:
            ours[scores.name] = scores.normalized()
            domains.setdefault(scores.domain, {})[scores.name] = ours[scores.name]
        if (reference := _jat(scores)) is not None:
            theirs[scores.name] = reference.normalized(scores.returns, task=scores.name)
    return {
        "summary": summary(ours),
        "domains": {name: summary(episodes) for name, episodes in domains.items()},
        "jat_summary": summary(theirs),
    }


def seeds_of(row: Mapping[str, Any]) -> list[int]:
    """The seeds of a row's returns: the failed episodes have none."""
    first, last = row["seeds"]
    return [seed for seed in range(first, last + 1) if str(seed) not in row.get("failed", {})]


def _jat(scores: TaskScores) -> Reference | None:
    found = jat_reference(scores.jat_name)
    return None if found is None else Reference(expert=found.expert, random=found.random)


def _jat_row(scores: TaskScores) -> dict[str, Any] | None:
    """The score against JAT's published references, where they are comparable."""
    reference = _jat(scores)
    if reference is None:
        return None
    episodes = reference.normalized(scores.returns, task=scores.name)
    return {
        "name": scores.jat_name,
        "expert": reference.expert,
        "random": reference.random,
        "normalized_score": float(episodes.mean()),
        "ci95": list(interval(episodes)),
    }


def _video_row(video: Video, run: Path) -> dict[str, Any]:
    return {
        "path": str(video.path.relative_to(run)),
        "seed": video.seed,
        "return": video.episode_return,
        "length": video.length,
        "texts": list(video.texts),
    }


def _language(results: EvaluationResults) -> dict[str, Any]:
    """Return the numbers of questions, captions and text, as far as there are any."""
    parts: dict[str, Any] = {}
    if results.questions is not None:
        parts["vqa"] = results.questions.scores
    if results.captions is not None:
        parts["caption"] = results.captions.scores
    if results.text is not None:
        continuations = [vars(sample) for sample in results.text.continuations]
        parts["text"] = {**results.text.scores, "continuations": continuations}
    return parts


def _training(plan: Plan) -> dict[str, Any]:
    """Return how the agent came to be; time and tokens as of the last logged step."""
    model = load_agent(str(plan.run), plan.inference.device).model
    last = RunInfo.read(plan.run).last
    return {
        "seconds": last.get("seconds"),
        "tokens": last.get("tokens"),
        "steps": last.get("step"),
        "parameters": model.num_parameters,
        "context_length": model.config.context_length,
        "tasks": list(plan.contents.tasks),
        "sources": list(plan.contents.sources),
    }


def _missing(plan: Plan) -> list[str]:
    """List the parts that this run cannot have, and what it learned that no part is about."""
    parts = {
        QUESTIONS: "no questions were asked",
        CAPTIONS: "no pictures were named",
        TEXT: "no bits per byte were measured",
    }
    scored = scored_sources(plan.contents.sources)
    missing = [
        f"not trained on {name}: {part}" for name, part in parts.items() if name not in scored
    ]
    missing += [
        f"trained on {source}, which is not scored here"
        for source in plan.contents.sources
        if source not in scored.values()
    ]
    learned = (*plan.contents.tasks, *scored.values())
    if left_out := [name for name in learned if name not in (*plan.names, *plan.sources)]:
        missing.append(f"left out on request: {', '.join(left_out)}")
    return missing if plan.names else ["no control tasks", *missing]


def _evaluation(results: EvaluationResults) -> dict[str, Any]:
    plan, inference = results.plan, results.plan.inference
    return {
        "seconds": results.seconds,
        "episodes": plan.config.episodes,
        "seeds": [plan.seeds[0], plan.seeds[-1]],
        "sampling": vars(inference.sampling),
        "sampling_seed": inference.seed,
        "precision": inference.precision,
        "language_precision": language_inference(inference).precision,
        "device": inference.device,
        "workers": plan.config.workers,
        "job_seconds": {name: round(s, 1) for name, s in results.job_seconds.items()},
    }
