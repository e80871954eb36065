"""An ablation of prompts, run and written down: `ablation.json` and `ablation.md`."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mugato.evaluation.ablation import (
    COMPARED,
    CONDITIONS,
    NUM_PROMPTS,
    Ablation,
    ablation_jobs,
    collect_ablation,
)
from mugato.evaluation.comparison import Difference
from mugato.evaluation.config import Plan, find_tasks
from mugato.evaluation.episodes import load_agent
from mugato.evaluation.evaluate import OnProgress, percent
from mugato.evaluation.jobs import run_episode_jobs
from mugato.evaluation.results import task_row
from mugato.reports.markdown import markdown_table
from mugato.system.files import write_whole
from mugato.system.machine import describe_machine, git_commit, package_versions

JSON, MARKDOWN = "ablation.json", "ablation.md"


def ablate(
    plan: Plan,
    *,
    command: str,
    on_progress: OnProgress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Play all conditions, write both files into the run's folder; return what the first says.

    Raises:
        ValueError: if no task can be prompted.
    """
    tasks, problems = find_tasks(plan.names)
    agent = load_agent(str(plan.run), plan.inference.device)
    jobs, wrong, remarks = ablation_jobs(plan, agent, tasks)
    outcomes = run_episode_jobs(
        jobs, workers=plan.config.workers, environment={}, progress=percent(jobs, on_progress)
    )
    remarks += [f"{name}: {why}" for name, why in problems.items()]
    data = _data(plan, collect_ablation(plan, tasks, outcomes, wrong, remarks), command)
    texts = {
        JSON: json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        MARKDOWN: ablation_markdown(data),
    }
    for name, content in texts.items():
        write_whole(
            plan.run / name, lambda path, content=content: path.write_text(content, "utf-8")
        )
    return data


def ablation_markdown(data: Mapping[str, Any]) -> str:
    """The numbers as a document."""
    return "\n".join(_lines(data)) + "\n"


def _data(plan: Plan, found: Ablation, command: str) -> dict[str, Any]:
    problems: dict[str, str] = {}
    tasks = {
        name: {
            "wrong_task": found.wrong_tasks.get(name),
            "conditions": {c: task_row(s, problems) for c, s in by_condition.items()},
        }
        for name, by_condition in found.scores.items()
    }
    differences = [
        {"first": first, "second": second, "tasks": {n: _row(d) for n, d in by_task.items()}}
        for (first, second), by_task in found.differences.items()
    ]
    return {
        "tasks": tasks,
        "differences": differences,
        "remarks": [*found.remarks, *problems.values()],
        "episodes": plan.config.episodes,
        "seeds": [plan.seeds[0], plan.seeds[-1]],
        "prompts": min(NUM_PROMPTS, plan.config.episodes),
        "sampling": vars(plan.inference.sampling),
        "precision": plan.inference.precision,
        "workers": plan.config.workers,
        "machine": describe_machine(),
        "versions": package_versions(),
        "commit": git_commit(),
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _row(found: Difference) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        "change": found.change,
        "ci95": list(found.interval),
        "pairs": found.pairs,
    }


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    yield from ("# What a prompt is worth", "")
    yield "Normalized scores with 95 % intervals over episodes, all conditions on the same seeds."
    yield ""
    rows = (list(_cells(name, entry)) for name, entry in data["tasks"].items())
    yield from markdown_table(["task", *CONDITIONS, "wrong task was"], rows)
    yield ""
    yield "Differences, from resampling episodes in pairs; * where the interval leaves out zero."
    yield ""
    header = ["task", *(f"{second} less {first}" for first, second in COMPARED)]
    names = [*data["tasks"], "all"]
    yield from markdown_table(header, ([n, *_changes(data, n)] for n in names))
    yield ""
    yield from (f"- {remark}" for remark in data["remarks"])
    machine = data["machine"]
    yield f"- episodes: {data['episodes']} per task and condition, seeds {data['seeds'][0]} to "
    yield f"  {data['seeds'][1]}, {data['prompts']} demonstrations for each prompt condition"
    yield f"- command: {data['command']}"
    yield f"- machine: {machine['cpu']}, {machine['cores']} cores; commit {data['commit']}; "
    yield f"  {data['date']}"


def _cells(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield name
    for condition in CONDITIONS:
        row = entry["conditions"].get(condition)
        if row is None or row["normalized_score"] is None:
            yield ""
        else:
            low, high = row["ci95"]
            yield f"{row['normalized_score']:.2f} ({low:.2f} to {high:.2f})"
    yield entry["wrong_task"] or ""


def _changes(data: Mapping[str, Any], name: str) -> Iterator[str]:
    for entry in data["differences"]:
        row = entry["tasks"].get(name)
        if row is None:
            yield ""
        else:
            low, high = row["ci95"]
            sure = "*" if low > 0 or high < 0 else ""
            yield f"{row['change']:+.2f}{sure} ({low:+.2f} to {high:+.2f})"
