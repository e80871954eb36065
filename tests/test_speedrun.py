"""The speedrun bench's arithmetic: crossings, medians, ratios, recipes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mugato.training.presets import preset

PATH = Path(__file__).parent.parent / "benchmarks" / "speedrun.py"


@pytest.fixture(scope="module")
def speedrun():
    spec = importlib.util.spec_from_file_location("speedrun", PATH)
    assert spec and spec.loader
    module = sys.modules["speedrun"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["speedrun"]


def curve(*losses, tokens=100, **others):
    named = {"text": losses, **others}
    return [
        {"tokens": tokens * i, "seconds": i, "losses": {n: named[n][i - 1] for n in named}}
        for i in range(1, len(losses) + 1)
    ]


def test_a_target_counts_once_the_loss_stays_there(speedrun):
    assert speedrun.reached(curve(4.0, 2.0, 1.0), "text", 3.0) == 150
    assert speedrun.reached(curve(4.0, 2.0, 1.0), "text", 3.0, by="seconds") == 1.5
    assert speedrun.reached(curve(4.0, 2.0, 3.5, 1.0), "text", 3.0) == pytest.approx(320)
    assert speedrun.reached(curve(2.0, 1.0), "text", 3.0) == 100  # not before the first point
    assert speedrun.reached(curve(4.0, 2.0, 3.5), "text", 3.0) is None


def test_seeds_give_their_median_point_by_point(speedrun):
    found = speedrun.median_curve([curve(4.0, 1.0), curve(2.0, 3.0), curve(3.0, 2.0)])
    assert [row["losses"]["text"] for row in found] == [3.0, 2.0]


def test_seeds_with_other_points_are_read_between_them(speedrun):
    found = speedrun.median_curve([curve(4.0, 2.0), curve(5.0, 3.0, 1.0, tokens=80)])
    assert [row["tokens"] for row in found] == [100, 200]
    assert [row["losses"]["text"] for row in found] == [(4.0 + 4.5) / 2, (2.0 + 2.0) / 2]


def test_a_recipe_is_measured_by_where_the_reference_ended(speedrun):
    baseline = speedrun.Runs.of([curve(4.0, 2.0, plays=[5.0, 4.0])])
    new = speedrun.Runs.of([curve(2.0, 1.0, plays=[6.0, 5.0]), curve(2.0, 1.5, plays=[6.0, 5.0])])
    assert speedrun.compare(baseline, baseline) == {"text": 1.0, "plays": 1.0}
    assert speedrun.compare(new, baseline) == {"text": 0.5, "plays": None}
    lines = list(speedrun.table({"baseline": baseline, "new": new}, baseline))
    assert lines[2] == "| text | 2.000 | 2.000, 1.00× | 1.250 (1.000-1.500), 0.50× |"
    assert lines[3] == "| plays | 4.000 | 4.000, 1.00× | 5.000 (5.000-5.000), not reached |"
    assert lines[4] == "| **at half the tokens or less** | | 0 | 1 |"


def test_a_run_that_went_back_counts_what_came_later(speedrun, tmp_path):
    rows = [{"tokens": tokens, "losses": {}} for tokens in (100, 200, 300, 150, 300)]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["tokens"] for row in speedrun.read_curve(tmp_path)] == [100, 150, 300]


def test_a_stored_reference_is_read_as_it_was(speedrun, tmp_path, monkeypatch):
    monkeypatch.setattr(speedrun, "STORED", tmp_path / "stored.json")
    assert speedrun.read_stored() is None
    runs = speedrun.Runs.of([curve(4.0, 2.0)], 7)
    speedrun.store("baseline", runs)
    assert speedrun.read_stored() == runs


def test_recipes_change_fields_by_name(speedrun):
    config = speedrun.with_(
        "optimizer.betas=[0.8, 0.9]", "datasets.cartpole.weight=0.5", "model.sequence_model=rotary"
    )(preset("demo"))
    assert config.optimizer.betas == (0.8, 0.9)
    assert config.model.sequence_model == "rotary"
    assert {d.name: d.weight for d in config.datasets}["cartpole"] == 0.5
    assert config.optimizer.muon_lr_factor == 0  # else the baseline's
    for change in ("optimizer.speed=1", "lr", "datasets.chess.weight=1"):
        with pytest.raises(ValueError, match="not NAME=VALUE"):
            speedrun.changed(config, [change])
    with pytest.raises(ValueError, match="batch_rows"):
        speedrun.changed(config, ["batch_rows=many"])


def test_the_baseline_has_the_sources_of_the_demo(speedrun):
    names = [dataset.name for dataset in speedrun.RECIPES["baseline"](preset("demo")).datasets]
    assert names == [dataset.name for dataset in preset("demo").datasets]
