"""Normalised scores, against values worked out by hand."""

import numpy as np
import pytest

from mugato.evaluation.scores import TaskScores, interval, normalized_score, summary


def scores_of(returns, *, expert, random, name="walk"):
    return TaskScores(
        name=name, domain="test", first_seed=3_000_000, returns=returns, lengths=[9] * len(returns),
        expert=expert, random=random, expert_is="expert", max_episode_steps=10, seconds=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("episode_return", "expected"),
    [(20.0, 0.0), (120.0, 1.0), (95.0, 0.75), (-5.0, -0.25), (170.0, 1.5)],
)
def test_a_score_is_the_share_of_the_way_from_random_to_expert(episode_return, expected):
    assert normalized_score(episode_return, expert=120.0, random=20.0, task="walk") == expected


def test_the_score_of_a_task_is_that_of_its_mean_return():
    score, (low, high) = scores_of(
        [0.0, 2.0, 4.0], expert=[3.0, 5.0], random=[-1.0, 1.0]
    ).normalized()
    assert score == 0.5
    assert 0.0 <= low < 0.5 < high <= 1.0


@pytest.mark.parametrize(("expert", "random"), [(1.0, 1.0), (0.0, 0.5), (float("nan"), 0.0)])
def test_a_degenerate_reference_is_refused_by_name(expert, random):
    with pytest.raises(ValueError, match=r"walk: the expert's mean return .* no normalized score"):
        normalized_score(1.0, expert=expert, random=random, task="walk")
    with pytest.raises(ValueError, match="walk"):
        scores_of([1.0, 0.0], expert=[expert], random=[random]).normalized()


def test_the_interval_is_that_of_a_percentile_bootstrap():
    returns = np.random.default_rng(0).normal(50.0, 20.0, size=50)
    low, high = interval(returns.tolist(), expert=100.0, random=0.0, task="walk")
    rng = np.random.default_rng(1)
    means = [rng.choice(returns, 50).mean() / 100 for _ in range(9999)]
    assert [low, high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.003)


def test_the_interval_is_the_same_every_time():
    options = {"expert": 3.0, "random": 0.0, "task": "walk"}
    assert interval([1.0, 2.0, 0.0], **options) == interval([1.0, 2.0, 0.0], **options)


def test_equal_episodes_have_no_spread():
    assert interval([1.0], expert=1.0, random=0.0, task="walk") == (1.0, 1.0)
    assert interval([1.0] * 50, expert=1.0, random=0.0, task="walk") == (1.0, 1.0)


def test_the_summary_counts_thresholds_reached():
    found = summary({"a": 0.4, "b": 0.5, "c": 0.9, "d": 1.0})
    assert found["mean_normalized_score"] == pytest.approx(0.7)
    assert found["min_normalized_score"] == 0.4
    assert found["tasks_at_or_above"] == {"0.5": 3, "0.8": 2, "1.0": 1}
    assert summary({}) == {}
