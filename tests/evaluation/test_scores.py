"""Normalized scores and their intervals, against values worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest

from mugato.evaluation import scores
from mugato.evaluation.scores import (
    Reference,
    TaskScores,
    inter_quartile_mean,
    interval,
    normalized_score,
    stratified_interval,
    summary,
)


def scores_of(returns, *, expert, random, **changes):
    return TaskScores(
        name="walk", domain="test", seeds=range(len(returns)), returns=returns, length_mean=9.0,
        reference=Reference(expert=expert, random=random), max_episode_steps=10, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("episode_return", "expected"),
    [(20.0, 0.0), (120.0, 1.0), (95.0, 0.75), (-5.0, -0.25), (170.0, 1.5)],
)
def test_a_score_is_the_share_of_the_way_from_random_to_expert(episode_return, expected):
    assert normalized_score(episode_return, expert=120.0, random=20.0, task="walk") == expected


def test_every_episode_has_a_score():
    found = scores_of([0.0, 2.0, 4.0], expert=4.0, random=0.0)
    assert found.normalized().tolist() == [0.0, 0.5, 1.0]
    assert found.score == 0.5 and found.ci95 == interval(found.normalized())
    degenerate = scores_of([0.0], expert=1.0, random=1.0)
    assert degenerate.score is None and degenerate.ci95 is None
    assert "walk: the expert's mean return 1 is not above" in degenerate.fault


def test_a_row_is_read_as_it_was_written():
    published = Reference(expert=3.0, random=1.0, measured="published")
    found = scores_of(
        [0.0, 2.0, 4.0], expert=4.0, random=0.0, success=0.5, failed={1: "crashed"}, jat_name="w",
        jat=published,
    )  # fmt: skip
    found = dataclasses.replace(found, seeds=[0, 2, 3])
    assert TaskScores.from_json("walk", json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(ValueError, match="its task walk has no success, expert, "):
        TaskScores.from_json("walk", {"domain": "d"})


@pytest.mark.parametrize(("expert", "random"), [(1.0, 1.0), (0.0, 0.5), (float("nan"), 0.0)])
def test_a_degenerate_reference_is_refused_by_name(expert, random):
    with pytest.raises(ValueError, match=r"walk: the expert's mean return .* no normalized score"):
        normalized_score(1.0, expert=expert, random=random, task="walk")
    with pytest.raises(ValueError, match="walk"):
        scores_of([1.0, 0.0], expert=expert, random=random).normalized()


def test_the_interval_is_that_of_a_percentile_bootstrap():
    episodes = np.random.default_rng(0).normal(0.5, 0.2, size=50)
    rng = np.random.default_rng(1)
    means = [rng.choice(episodes, 50).mean() for _ in range(9999)]
    assert list(interval(episodes)) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.003)
    assert interval(episodes) == interval(episodes)


def test_equal_episodes_have_no_spread():
    assert interval([1.0]) == interval([1.0] * 50) == (1.0, 1.0)
    strata = [np.array([0.25]), np.array([0.75, 0.75])]
    assert stratified_interval(strata, scores.mean) == (0.5, 0.5)


@pytest.mark.thorough
@pytest.mark.parametrize("name", scores.AGGREGATES)
def test_tasks_are_resampled_each_by_itself(name):
    """Tasks that differ much, episodes that differ little: the interval is narrow."""
    rng = np.random.default_rng(0)
    strata = [rng.normal(level, 0.05, 40) for level in (0.0, 0.2, 0.5, 0.9, 1.0)]
    aggregate = scores.AGGREGATES[name]
    low, high = stratified_interval(strata, aggregate)
    assert low < float(aggregate([s.mean() for s in strata])) < high < low + 0.06
    drawn = np.array(
        [aggregate([rng.choice(s, len(s)).mean() for s in strata]) for _ in range(4000)]
    )
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.003)


def test_a_task_of_one_episode_stays_as_it_is():
    strata = [np.array([0.3]), np.random.default_rng(0).normal(0.5, 0.2, size=50)]
    low, high = stratified_interval(strata, scores.mean)
    alone = interval(strata[1])
    assert [2 * low - 0.3, 2 * high - 0.3] == pytest.approx(alone, abs=0.005)


def test_the_inter_quartile_mean_leaves_out_a_quarter_at_each_end():
    values = [-9.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 99.0]
    assert inter_quartile_mean(values) == pytest.approx(np.mean([0.2, 0.3, 0.4, 0.5]))


def test_the_summary_counts_thresholds_reached():
    found = summary(np.array([v]) for v in (0.4, 0.5, 0.9, 1.0))
    assert found is not None
    assert found.mean_normalized_score == pytest.approx(0.7)
    assert found.median_normalized_score == pytest.approx(0.7)
    assert found.iqm_normalized_score == pytest.approx(0.7)
    assert found.mean_ci95 == pytest.approx((0.7, 0.7))
    assert found.min_normalized_score == 0.4
    assert found.tasks_at_or_above == {"0.5": 3, "0.8": 2, "1.0": 1}
    assert summary([]) is None
