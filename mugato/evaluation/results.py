"""One task's findings as the report's numbers, and the aggregates over all of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from mugato.evaluation.jat import jat_reference
from mugato.evaluation.scores import Reference, TaskScores, interval, summary


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
