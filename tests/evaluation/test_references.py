"""Expert and random returns on the agent's seeds."""

import dataclasses

import pytest

from mugato.data.minari_source import open_minari
from mugato.evaluation.references import (
    demonstrated_returns,
    measure_reference,
    tabled_reference,
)
from mugato.evaluation.scores import ON_AGENTS_SEEDS
from mugato.tasks import references
from mugato.tasks.record import record
from mugato.tasks.registry import TASKS
from mugato.tasks.rollout import reference_scores
from tests.evaluation.environments import guess_task

SEEDS = range(3_000_000, 3_000_007)


def test_expert_and_random_play_the_seeds_asked_for():
    found = measure_reference(guess_task(), SEEDS)
    scores = reference_scores(guess_task(), SEEDS)
    assert found.expert == pytest.approx(sum(scores["expert"]) / 7)
    assert found.random == pytest.approx(sum(scores["random"]) / 7)
    assert found.expert > found.random and found.expert_is == "expert"


def test_the_table_stands_for_measuring_where_the_versions_are_the_same(monkeypatch):
    task = TASKS["cartpole"]
    known = references.Reference(
        by_expert=references.Play(mean=500.0, std=0.0, success=1.0, length=500.0),
        by_chance=references.Play(mean=22.5, std=1.0, success=0.0, length=22.5),
        episodes=3, gave_up=0, versions=references.versions_of(task),
    )  # fmt: skip
    other = dataclasses.replace(known, versions={"gymnasium": "0.1"})
    table = {"cartpole": known}
    monkeypatch.setattr(references, "_shipped", lambda: table)
    same, others = (tabled_reference(task, SEEDS[:n]) for n in (3, 2))
    assert same and (same.expert, same.random, same.measured) == (500.0, 22.5, ON_AGENTS_SEEDS)
    assert others and others.measured == "on seeds 3000000 to 3000002"
    assert tabled_reference(guess_task(), SEEDS) is None
    table["cartpole"] = other
    assert tabled_reference(task, SEEDS) is None


def test_without_an_expert_the_demonstrations_are_the_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    report = record(guess_task(), episodes=3, dataset_id="guesses-v0")
    found = measure_reference(guess_task(expert=False), SEEDS, demonstrations="guesses-v0")
    assert found.expert_is == "demonstrations"
    assert report.returns == demonstrated_returns(guess_task(), "guesses-v0")
    assert found.expert == pytest.approx(sum(report.returns) / 3)
    assert len(open_minari("guesses-v0")) == 3


def test_without_any_reference_the_task_is_refused():
    with pytest.raises(ValueError, match="guess has neither an expert nor demonstrations"):
        measure_reference(guess_task(expert=False), SEEDS)
