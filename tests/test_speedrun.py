"""The speedrun bench's arithmetic: crossings, medians, ratios."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "benchmarks" / "speedrun.py"


@pytest.fixture(scope="module")
def speedrun():
    spec = importlib.util.spec_from_file_location("speedrun", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curve(*losses, **others):
    named = {"text": losses, **others}
    return [
        {"tokens": 100 * i, "seconds": i, "losses": {n: named[n][i - 1] for n in named}}
        for i in range(1, len(losses) + 1)
    ]


def test_a_target_counts_once_the_loss_stays_there(speedrun):
    assert speedrun.tokens_to(curve(4.0, 2.0, 1.0), "text", 3.0) == 150
    assert speedrun.tokens_to(curve(4.0, 2.0, 3.5, 1.0), "text", 3.0) == pytest.approx(320)
    assert speedrun.tokens_to(curve(2.0, 1.0), "text", 3.0) == 100  # not before the first point
    assert speedrun.tokens_to(curve(4.0, 2.0, 3.5), "text", 3.0) is None


def test_seeds_give_their_median_point_by_point(speedrun):
    found = speedrun.median_curve([curve(4.0, 1.0), curve(2.0, 3.0), curve(3.0, 2.0)])
    assert [row["losses"]["text"] for row in found] == [3.0, 2.0]


def test_a_recipe_is_measured_by_where_the_reference_ended(speedrun):
    curves = {
        "baseline": curve(4.0, 2.0, plays=[5.0, 4.0]),
        "new": curve(2.0, 1.0, plays=[6.0, 5.0]),
    }
    assert speedrun.compare(curves, "baseline") == {
        "baseline": {"text": 1.0, "plays": 1.0},
        "new": {"text": 0.5, "plays": None},
    }
    lines = list(speedrun.table(curves, {"baseline": 3, "new": 1}, "baseline"))
    assert lines[2] == "| text | 2.000, 1.00 | 1.000, 0.50 |"
    assert lines[3] == "| plays | 4.000, 1.00 | 5.000, not reached |"
    assert lines[4] == "| **at half the tokens or less** | 0 | 1 |"
