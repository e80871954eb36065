"""Which agent was evaluated: its training's budget and end, and a fingerprint of its weights.

A report outlives the weights that it is about. With the fingerprint whoever reads it again can
tell whether they still lie in the run's folder: `staleness`. Nothing here knows scores.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mugato.evaluation.config import Plan
from mugato.model.serialization import WEIGHTS
from mugato.training.checkpoint import STATE, TrainingProgress, read_progress
from mugato.training.run_info import RunInfo, is_played

# What ended a training. Nothing in a run's folder tells an interrupted run from one that was given
# up, or from one that is still at work.
STEPS, TOKENS, TIME, STOPPED = "steps", "tokens", "time", "stopped"
SHOWN_DIGITS = 12  # of a fingerprint: enough to tell any two files apart


@dataclass(frozen=True, kw_only=True)
class AgentInfo:
    """What was evaluated, and how it came to be.

    Attributes:
        seconds, tokens, steps: of the training, as its state has them, or where there is none its
            last logged step; None if not known.
        skipped: steps among them whose loss or gradient was not finite.
        max_steps, max_tokens, max_seconds: what the training was allowed.
        ended: "steps", "tokens", "time" or "stopped" (before any was used up); None if not known.
        fingerprint: SHA-256 of `model.safetensors` before it was scored, as `sha256sum` has it.
        weights_date: when that file was written, ISO 8601.
        tasks, sources: all that the agent was trained on.
    """

    seconds: float | None
    tokens: int | None
    steps: int | None
    parameters: int
    context_length: int
    tasks: Sequence[str]
    sources: Sequence[str]
    skipped: int = 0
    max_steps: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    ended: str | None = None
    fingerprint: str | None = None
    weights_date: str | None = None


def agent_info(plan: Plan) -> AgentInfo:
    """Describe the agent of a plan, from what the run's folder records."""
    path, model = plan.run / WEIGHTS, plan.agent().model
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return AgentInfo(
        **_training(plan.run),
        parameters=model.num_parameters,
        context_length=model.config.context_length,
        tasks=[dataset.name for dataset in plan.datasets if is_played(dataset)],
        sources=[dataset.name for dataset in plan.datasets if not is_played(dataset)],
        fingerprint=fingerprint(path),
        weights_date=written.isoformat(timespec="seconds"),
    )


def fingerprint(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staleness(agent: AgentInfo, run: Path) -> str | None:
    """Say why a report no longer tells of the weights in a run's folder; None while it does."""
    path = run / WEIGHTS
    if agent.fingerprint is None:
        return "This report may be stale: it does not record which weights it scored"
    scored = f"{agent.fingerprint[:SHOWN_DIGITS]} were scored"
    if not path.is_file():
        return f"This report is stale: the weights are gone: {scored}, and {path} is not there"
    if (now := fingerprint(path)) != agent.fingerprint:
        return (
            f"This report is stale: the weights have changed since: {scored}, "
            f"{path} holds {now[:SHOWN_DIGITS]}"
        )
    return None


def _training(run: Path) -> dict[str, Any]:
    """Return how far the training came, what it was allowed, and which of it ended it."""
    info = RunInfo.read(run)
    allowed = {
        "max_steps": info.max_steps,
        "max_tokens": info.max_tokens,
        "max_seconds": info.max_seconds,
    }
    progress = _progress(run)
    if progress is None:
        known = {"seconds": "seconds", "tokens": "tokens", "steps": "step"}
        found = {name: info.last.get(key) for name, key in known.items()}
        return {**found, "skipped": info.last.get("skipped", 0), **allowed}
    budgets = (
        (STEPS, progress.step, info.max_steps),
        (TOKENS, progress.tokens, info.max_tokens),
        (TIME, progress.seconds, info.max_seconds),
    )
    used_up = [name for name, done, most in budgets if most is not None and done >= most]
    return {
        "seconds": progress.seconds,
        "tokens": progress.tokens,
        "steps": progress.step,
        "skipped": progress.skipped,
        **allowed,
        "ended": (used_up or [STOPPED])[0] if any(allowed.values()) else None,
    }


def _progress(run: Path) -> TrainingProgress | None:
    """Return where the training stands; None where that is not known."""
    try:
        return read_progress(run) if (run / STATE).is_file() else None
    except ValueError:  # corrupt: needed to go on, not to act or to be scored
        return None
