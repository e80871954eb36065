"""Trainings of one recipe together, against Student's intervals worked out by hand."""

import dataclasses
import json
from pathlib import Path

import pytest

from mugato.data.config import DatasetConfig
from mugato.evaluation.trainings import TrainingsScore, score_together
from mugato.training.config import TrainConfig
from mugato.training.run_info import save_config
from tests.evaluation.test_comparison import SEEDS, report


def test_the_interval_is_over_trainings_and_not_over_their_episodes():
    """Of 0.2, 0.4 and 0.9: mean 0.5, deviation 0.3606, t(2) at 97.5 % 4.3027."""
    runs = [report([10 * score] * len(SEEDS), run=str(score)) for score in (0.2, 0.4, 0.9)]
    found = score_together(runs).scores
    half = 4.3027 * 0.36056 / 3**0.5
    for name in ("walk", "all tasks, mean", "all tasks, iqm"):
        assert found[name].mean == pytest.approx(0.5)
        assert found[name].interval == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)


def test_one_training_has_no_interval():
    assert TrainingsScore(values=(0.5,)).interval is None


def test_what_only_some_trainings_have_is_said():
    found = score_together([report([5.0] * 40), report([5.0] * 40, name="run")])
    assert found.scores["walk"].values == (0.5,)
    assert "walk: only 1 of 2 trainings have it" in found.remarks


@pytest.mark.parametrize(
    ("second", "remark"),
    [
        ({"seed": 1}, None),
        ({"seed": 1, "workers": 3}, None),
        ({"seed": 0}, "trained more than once with seed 0"),
        ({"seed": 1, "steps": 9}, "they differ in steps: 5, 9"),
    ],
)
def test_trainings_that_differ_in_more_than_their_seed_are_named(
    tmp_path: Path, second: dict, remark: str | None
):
    first = TrainConfig(
        datasets=(DatasetConfig(name="cartpole"),), steps=5, seed=0, run=tmp_path / "a"
    )
    for config in (first, dataclasses.replace(first, run=tmp_path / "b", **second)):
        config.run.mkdir()
        save_config(config)
    runs = [report([5.0] * 40, run=str(tmp_path / name)) for name in "ab"]
    found = score_together(runs)
    assert list(found.remarks) == ([] if remark is None else [remark])
    assert json.loads(json.dumps(found.to_json()))["scores"]["walk"]["values"] == [0.5, 0.5]
