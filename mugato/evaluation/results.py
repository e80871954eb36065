"""What an evaluation found, typed; `report.json` is written from it and read back into it.

Pictures are not kept in that file: results that were read have no samples to show.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mugato.agent import Sampling
from mugato.evaluation.agent_info import AgentInfo, staleness
from mugato.evaluation.language import AnswerResults, CaptionResults, SourceResults
from mugato.evaluation.scores import Summary, TaskScores, summary
from mugato.evaluation.text import TextScores
from mugato.system.files import write_text_whole
from mugato.system.machine import describe_machine, git_commit, package_versions
from mugato.system.typed_json import from_json, read_json

REPORT = "report.json"
_KINDS = {results.kind: results for results in (AnswerResults, CaptionResults, TextScores)}


@dataclass(frozen=True, kw_only=True)
class Video:
    """A film on disk and what happens in it.

    Attributes:
        path: relative to the run's folder.
        texts: what the first observation said in words.
    """

    path: Path
    seed: int
    episode_return: float
    length: int
    texts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a report's entry."""
        row = {**vars(self), "path": str(self.path), "texts": list(self.texts)}
        return {"return" if key == "episode_return" else key: row[key] for key in row}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "Video":
        """Read a report's entry; raises ValueError for anything else."""
        data = from_json(dict[str, Any], row, "video")
        renamed = {"episode_return" if key == "return" else key: data[key] for key in data}
        return from_json(Video, renamed, "video")


@dataclass(frozen=True, kw_only=True)
class EvaluationInfo:
    """How the agent was evaluated.

    Attributes:
        episodes: of each task.
        seeds: the first and the last one.
        sampling: that was asked for; None where each task has its own.
        samplings, histories: how actions were chosen in each task, and after how many timesteps the
            agent forgot everything.
        job_seconds: how long each job took.
    """

    seconds: float
    episodes: int
    seeds: Sequence[int]
    sampling: Sampling | None
    sampling_seed: int
    precision: str
    language_precision: str
    device: str
    workers: int
    job_seconds: Mapping[str, float]
    samplings: Mapping[str, Sampling] = field(default_factory=dict)
    histories: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """On what, with what and when numbers were measured.

    Attributes:
        command: what was asked for, to be run again.
        date: when it ended, ISO 8601.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    command: str
    date: str

    @staticmethod
    def here(command: str) -> "Provenance":
        """Describe this machine and this moment, in UTC to the second."""
        return Provenance(
            machine=describe_machine(),
            versions=package_versions(),
            commit=git_commit(),
            command=command,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """All results by task or source.

    Attributes:
        run: folder of the run.
        tasks: each control task's episodes beside its references.
        sources: how well texts, captions and questions were answered.
        videos: one more episode of each task.
        missing: what the agent was trained on that has no score, and what to know of scores that
            are there, one line each.
        problems: what failed, one line each.
        total_seconds: of the undertaking that the evaluation ends.
    """

    run: Path
    tasks: Mapping[str, TaskScores]
    sources: Mapping[str, SourceResults]
    videos: Mapping[str, Video] = field(default_factory=dict)
    agent: AgentInfo
    missing: Sequence[str] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    evaluation: EvaluationInfo
    provenance: Provenance
    total_seconds: float

    @property
    def all_failed(self) -> bool:
        """Whether all that was to be scored failed."""
        return bool(self.problems) and not (self.tasks or self.sources)

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.run.resolve().name

    @property
    def stale(self) -> str | None:
        """Why these results are no longer those of the weights in the folder; None if they are."""
        return staleness(self.agent, self.run)

    @cached_property
    def summary(self) -> Summary | None:
        """Aggregates over all tasks with a score: those of a degenerate reference have none."""
        return summary(task.normalized() for task in self.tasks.values() if task.has_score)

    @cached_property
    def domains(self) -> dict[str, Summary]:
        """The same for each domain that has tasks with a score."""
        domains: dict[str, list] = {}
        for task in self.tasks.values():
            if task.has_score:
                domains.setdefault(task.domain, []).append(task.normalized())
        return {name: found for name, tasks in domains.items() if (found := summary(tasks))}

    @cached_property
    def jat_summary(self) -> Summary | None:
        """The same over the tasks that JAT published comparable references of, against those."""
        scores = (task.jat_normalized for task in self.tasks.values())
        return summary(episodes for episodes in scores if episodes is not None)

    @property
    def mean_normalized_score(self) -> float | None:
        """Mean over tasks that have a normalized score; None if none has."""
        return None if self.summary is None else self.summary.mean_normalized_score

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        tasks = {name: scores.to_json() for name, scores in self.tasks.items()}
        for name in (name for name in self.videos if name in tasks):
            tasks[name]["video"] = self.videos[name].to_json()
        return {
            "tasks": tasks,
            "summary": self.summary.to_json() if self.summary else {},
            "domains": {name: found.to_json() for name, found in self.domains.items()},
            "jat_summary": self.jat_summary.to_json() if self.jat_summary else {},
            "sources": {
                name: {"kind": found.kind, **found.to_json()}
                for name, found in self.sources.items()
            },
            "train": asdict(self.agent),
            "missing": list(self.missing),
            "problems": dict(self.problems),
            "evaluation": asdict(self.evaluation),
            **asdict(self.provenance),
            "total_seconds": self.total_seconds,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], run: Path) -> "EvaluationResults":
        """Read what `to_json` gave; aggregates are worked out anew.

        Raises:
            ValueError, KeyError: if it is something else.
        """
        keys = ("machine", "versions", "commit", "command", "date")
        tasks, sources = (
            from_json(dict[str, dict[str, Any]], data[key], key) for key in ("tasks", "sources")
        )
        return EvaluationResults(
            run=run,
            tasks={name: TaskScores.from_json(name, row) for name, row in tasks.items()},
            sources={name: _source_results(row, name) for name, row in sources.items()},
            videos={n: Video.from_json(row["video"]) for n, row in tasks.items() if "video" in row},
            agent=from_json(AgentInfo, data["train"], "train"),
            missing=from_json(list[str], data["missing"], "missing"),
            problems=from_json(dict[str, str], data["problems"], "problems"),
            evaluation=from_json(EvaluationInfo, data["evaluation"], "evaluation"),
            provenance=from_json(Provenance, {key: data[key] for key in keys}, "provenance"),
            total_seconds=from_json(float, data["total_seconds"], "total_seconds"),
        )

    def save(self) -> None:
        """Write `report.json` into the run's folder, whole or not at all."""
        save_json(self.run / REPORT, self.to_json())


def read_results(run: str | Path) -> EvaluationResults:
    """Read a run's `report.json`; `run` is its folder, or the file itself.

    Raises:
        ValueError: there is none, or it is not one of ours.
    """
    run = Path(run)
    path = run if run.suffix == ".json" and not run.is_dir() else run / REPORT
    if not path.exists():
        raise ValueError(f"{path} is not there: run mugato evaluate {run} first")
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("tasks"), dict):
        raise ValueError(f"{path} is not a report: it has no tasks")
    try:
        return EvaluationResults.from_json(data, path.parent)
    except KeyError as error:
        raise ValueError(f"{path} is of another version of mugato: it has no {error}") from None
    except ValueError as error:
        raise ValueError(f"{path} is of another version of mugato: {error}") from None


def _source_results(row: Mapping[str, Any], name: str) -> SourceResults:
    kind = from_json(Literal["questions", "captions", "text"], row.get("kind"), f"{name}: kind")
    return _KINDS[kind].from_json({key: row[key] for key in row if key != "kind"})


def save_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file of numbers, whole or not at all."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_whole(path, text)
