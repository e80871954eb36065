"""Scores that mislead are marked, and only those."""

import numpy as np
import pytest

from mugato.cli.evaluate import _show
from mugato.evaluation.comparison import compare
from mugato.reports.render import comparison_html, comparison_markdown, report_html, report_markdown
from mugato.reports.scales import caution, cautions
from mugato.tasks.references import reference
from mugato.tasks.registry import TASKS
from tests.evaluation.test_comparison import report

FEW = range(3_000_000, 3_000_004)


def scored(returns, expert, random, name="walk"):
    return report(returns, expert=expert, random=random, name=name, seeds=FEW)


@pytest.mark.parametrize(
    ("expert", "random", "returns", "said"),
    [
        (7.53, -801.0, [-5.0] * 4, "a return of -5 scores 0.98 on a wide scale: random actions "
         "return -801 and the expert 7.53, so that -32.9 already scores 0.95"),
        (0.0, -10.0, [-1.0] * 4, "-0.5 already scores 0.95"),
        (1000.0, 990.0, [995.0] * 4, "on a narrow scale"),
        (0.04, -0.3, [1.0, -1.0, 1.0, -1.0], "on a scale shorter than luck: 0.34 lies between"),
    ],
)  # fmt: skip
def test_scales_that_mislead_are_said_with_the_raw_return(expert, random, returns, said):
    results = scored(returns, expert, random)
    found = caution(results.tasks["walk"])
    assert found and said in found and found.startswith("a return of")
    for shown in (report_html(results, []), report_markdown(results)):
        assert "walk †" in shown and said in shown.replace("&#39;", "'")
        assert "1 of them † on a scale that misleads" in shown


@pytest.mark.parametrize(
    ("expert", "random", "returns"),
    [(500.0, 21.0, [480.0] * 4), (21.0, -20.4, [-20.0] * 4), (1.0, 0.3, [1.0, 1.0, 0.0, 0.0])],
)
def test_ordinary_scales_are_not_marked(expert, random, returns):
    results = scored(returns, expert, random)
    assert cautions(results) == {}
    assert "†" not in report_html(results, []) + report_markdown(results)


def test_no_score_needs_no_caution():
    assert caution(scored([1.0] * 4, 1.0, 1.0).tasks["walk"]) is None


def test_of_our_own_tasks_a_few_are_wide_and_none_is_narrow():
    """By the table of references; the agent here returns nothing but the expert's mean."""
    found = {}
    for name in TASKS:
        if (known := reference(name)) is not None and known.expert > known.random:
            results = scored([known.expert] * 4, known.expert, known.random, name)
            found |= cautions(results)
    assert {name for name, why in found.items() if "wide" in why} == set(found)
    assert set(found) == {"taxi", "cliff-walking", "cliff-walking-slippery"}


def test_a_comparison_marks_them_too():
    returns = np.linspace(-6.0, -4.0, 4).tolist()
    found = compare(scored(returns, 7.53, -801.0), scored([-5.0] * 4, 7.53, -801.0))
    for shown in (comparison_html(found), comparison_markdown(found)):
        assert "walk †" in shown and "on a wide scale" in shown


def test_the_terminal_says_them_too(capsys):
    _show(scored([-5.0] * 4, 7.53, -801.0))
    shown = capsys.readouterr().out
    assert "0.98 †" in shown and "walk †: a return of -5 scores 0.98 on a wide scale" in shown
