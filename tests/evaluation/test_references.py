"""Expert and random returns on the agent's seeds."""

import dataclasses

import h5py
import numpy as np
import pytest

from mugato.data.formats.minari.read import open_minari
from mugato.evaluation.references import (
    demonstrated_returns,
    jat_reference,
    measure_reference,
    tabled_reference,
)
from mugato.tasks import references
from mugato.tasks.registry import TASKS
from tests.evaluation.environments import guess_expert, guess_task
from tests.recording.recording import record

SEEDS = range(3_000_000, 3_000_007)


def test_expert_and_random_play_the_seeds_asked_for():
    found = measure_reference(guess_task(), SEEDS)
    expert, chance = references.play_seeds(guess_task(), SEEDS)
    assert found.expert == pytest.approx(sum(e.length for e in expert) / 7)  # it is always right
    assert found.random == pytest.approx(sum(e.episode_return for e in chance) / 7)
    assert found.expert > found.random and found.expert_is == "expert"
    assert found.measured == (
        "played for this report: expert and random actions, 7 episodes each, "
        "the agent's seeds 3000000 to 3000006"
    )


def gives_up_at_threes(env):
    """Play as the expert, which gives up where the first thing shown is a 3."""
    if env.unwrapped.shown == 3:
        raise RuntimeError("out of its depth")
    return guess_expert(env)


def gives_up(env):
    raise RuntimeError("out of its depth")


def test_an_expert_that_gives_up_at_some_seeds_is_still_a_reference():
    task = dataclasses.replace(guess_task(), make_expert=gives_up_at_threes)
    found = measure_reference(task, SEEDS)
    assert 0 < len(references.play_seeds(task, SEEDS)[0]) < 7
    assert found.expert > found.random
    left = len(SEEDS) - len(references.play_seeds(task, SEEDS)[0])
    assert f"7 episodes each (the expert gave up at {left}), the agent's seeds" in found.measured
    assert found.random == measure_reference(guess_task(), SEEDS).random
    with pytest.raises(ValueError, match="guess: the expert gave up at all 7 seeds"):
        measure_reference(dataclasses.replace(task, make_expert=gives_up), SEEDS)


def test_the_table_stands_for_measuring_where_the_versions_are_the_same(monkeypatch):
    task = TASKS["cartpole"]
    known = references.Reference(
        expert_stats=references.PolicyStats(mean=500.0, std=0.0, success=1.0, length=500.0),
        random_stats=references.PolicyStats(mean=22.5, std=1.0, success=0.0, length=22.5),
        episodes=3, gave_up=0, versions=references.versions_of(task),
    )  # fmt: skip
    other = dataclasses.replace(known, versions={"gymnasium": "0.1"})
    table = {"cartpole": known}
    monkeypatch.setattr(references, "_shipped", lambda: table)
    same, others = (tabled_reference(task, SEEDS[:n]) for n in (3, 2))
    said = "mugato's table: expert and random actions, 3 episodes each, seeds 3000000 to 3000002"
    assert same and (same.expert, same.random) == (500.0, 22.5)
    assert same.measured == f"{said}, the agent's own"
    assert others and others.measured == said
    assert tabled_reference(guess_task(), SEEDS) is None
    table["cartpole"] = other
    assert tabled_reference(task, SEEDS) is None


def test_without_an_expert_the_demonstrations_are_the_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    report = record(guess_task(), episodes=3, dataset="guesses-v0")
    found = measure_reference(guess_task(expert=False), SEEDS, demonstrations="guesses-v0")
    assert found.expert_is == "demonstrations"
    assert found.measured == (
        "expert: the mean of 3 demonstrations in guesses-v0; random actions, played for this "
        "report: 7 episodes, the agent's seeds 3000000 to 3000006"
    )
    assert report.returns == demonstrated_returns(guess_task(), "guesses-v0")
    assert found.expert == pytest.approx(sum(report.returns) / 3)
    assert len(open_minari("guesses-v0")) == 3


def test_without_any_reference_the_task_is_refused():
    with pytest.raises(ValueError, match="guess has neither an expert nor demonstrations"):
        measure_reference(guess_task(expert=False), SEEDS)


def test_demonstrations_without_rewards_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    record(guess_task(), episodes=2, dataset="guesses-v0")
    with h5py.File(tmp_path / "guesses-v0" / "data" / "main_data.hdf5", "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = np.zeros(0)
    with pytest.raises(ValueError, match=r"guesses-v0 episode 1: .* 0 timesteps, but there are"):
        demonstrated_returns(guess_task(), "guesses-v0")


def test_published_references_are_those_of_tasks_that_pay_alike():
    level = jat_reference("babyai-boss-level")
    assert level is not None and (level.expert, level.random) == (0.941872, 0.0616062)
    assert jat_reference("metaworld-drawer-close") is None
    assert jat_reference(None) is None
