"""The report of a run: one dictionary of numbers, written as JSON, Markdown and a page."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mugato.evaluation.episodes import load_agent
from mugato.evaluation.findings import Findings, Video
from mugato.evaluation.language import (
    CAPTIONS,
    QUESTIONS,
    TEXT,
    language_acting,
    scored_sources,
)
from mugato.evaluation.plan import Plan
from mugato.evaluation.results import summaries, task_row
from mugato.reports.html import report_html
from mugato.reports.markdown import report_markdown
from mugato.system.files import write_whole
from mugato.system.machine import describe_machine, git_commit, package_versions
from mugato.training.run_info import read_metrics

JSON, MARKDOWN, HTML = "report.json", "report.md", "report.html"


def report_data(
    plan: Plan,
    findings: Findings,
    *,
    command: str,
    workers: int,
    seconds: float,
    total_seconds: float,
) -> dict[str, Any]:
    """All numbers of the report. A part that the run has no source for is left out, and named."""
    problems = dict(findings.problems)
    tasks = {name: task_row(scores, problems) for name, scores in findings.tasks.items()}
    for name, video in findings.videos.items():
        if name in tasks:
            tasks[name]["video"] = _video_row(video, plan.run)
    data = {"tasks": tasks, **summaries(findings.tasks.values()), **_language(findings)}
    data["train"] = _training(plan)
    data["missing"] = _missing(plan)
    data["problems"] = problems
    data["evaluation"] = _evaluation(plan, findings, workers=workers, seconds=seconds)
    data["machine"] = describe_machine()
    data["versions"] = package_versions()
    data["commit"] = git_commit()
    data["command"] = command
    data["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    data["total_seconds"] = total_seconds
    return data


def write_report(run: Path, data: Mapping[str, Any], findings: Findings) -> None:
    """Write the three files, each whole or not at all; the numbers last.

    Raises:
        OSError: naming the file that could not be written.
    """
    page = report_html(data, findings, read_metrics(run))
    text = report_markdown(data)
    numbers = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, content in ((HTML, page), (MARKDOWN, text), (JSON, numbers)):
        write_whole(run / name, lambda path, content=content: path.write_text(content, "utf-8"))


def _video_row(video: Video, run: Path) -> dict[str, Any]:
    return {
        "path": str(video.path.relative_to(run)),
        "seed": video.seed,
        "return": video.episode_return,
        "length": video.length,
        "texts": list(video.texts),
    }


def _language(findings: Findings) -> dict[str, Any]:
    """Questions, captions and text, as far as there are any."""
    parts: dict[str, Any] = {}
    if findings.questions is not None:
        parts["vqa"] = findings.questions.scores
    if findings.captions is not None:
        parts["caption"] = findings.captions.scores
    if findings.text is not None:
        continuations = [vars(sample) for sample in findings.text.continuations]
        parts["text"] = {**findings.text.scores, "continuations": continuations}
    return parts


def _training(plan: Plan) -> dict[str, Any]:
    """How the agent came to be; time and tokens as of the last logged step."""
    model = load_agent(str(plan.run), plan.acting.device).model
    metrics = read_metrics(plan.run)
    last = metrics[-1] if metrics else {}
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
    """The parts that this run cannot have, and what it learned that no part is about."""
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


def _evaluation(plan: Plan, findings: Findings, *, workers: int, seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "episodes": plan.episodes,
        "seeds": [plan.first_seed, plan.first_seed + plan.episodes - 1],
        "sampling": vars(plan.acting.sampling),
        "sampling_seed": plan.acting.seed,
        "precision": plan.acting.precision,
        "language_precision": language_acting(plan.acting).precision,
        "device": plan.acting.device,
        "workers": workers,
        "job_seconds": {name: round(s, 1) for name, s in findings.seconds.items()},
    }
