"""Charts: heights are counts, places are shares of the width, starts do not flatten curves."""

import math
import re

from mugato.reports.charts import (
    COLORS,
    Bar,
    bar_chart,
    curve,
    curves,
    domain_chart,
    reaching,
    settled_range,
)


def heights(chart, color):
    """Of a domain's bars, from 0 % to 100 %."""
    found = re.findall(rf'<rect x="([\d.]+)%" y="[\d.]+" width="[\d.]+%" height="([\d.]+)" '
                       rf'fill="{color}"><title>', chart)  # fmt: skip
    return [float(height) for _, height in found]


def test_bars_count_the_tasks_at_or_above_each_percentage():
    chart = domain_chart({"babyai": [0.9, 0.2, 1.1], "a<b": [-0.5]})
    unit = heights(chart, COLORS[0])[-1]  # one task is above 100 %
    assert [round(h / unit) for h in heights(chart, COLORS[0])] == [3] * 5 + [2] * 14 + [1] * 2
    assert heights(chart, COLORS[1]) == []  # below random actions: nowhere
    assert "babyai (3)" in chart and "a&lt;b (1)" in chart
    assert "babyai: 2 tasks at 50 % or above" in chart


def test_a_score_at_the_threshold_reaches_it():
    assert reaching([0.5, 0.49], 50) == 1
    assert "<rect" not in domain_chart({})


def bars_of(chart):
    """Left edge and width in percent, of each bar."""
    found = re.findall(r'<rect class="bar \w+" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', chart)
    return [(float(left), float(width)) for left, width in found]


def test_bars_are_as_wide_as_the_page_and_their_letters_are_not_scaled():
    chart = bar_chart([Bar(name="a<b", value=0.5, interval=(0.25, 1.0), mark=0.75)])
    assert bars_of(chart) == [(0.0, 50.0)]
    assert 'width="100%"' in chart and "viewBox" not in chart
    whisker = re.findall(r'class="whisker" x1="([\d.]+)%" x2="([\d.]+)%"', chart)
    assert whisker[0] == ("25.0", "100.0") and "a&lt;b" in chart


def test_one_task_far_below_random_actions_does_not_flatten_the_others():
    chart = bar_chart([Bar(name="lander", value=-30.0), Bar(name="pole", value=1.0)])
    (fallen, all_of_it), (zero, half) = bars_of(chart)
    assert (fallen, all_of_it, zero, half) == (0.0, 50.0, 50.0, 50.0)
    assert "-3000%" in chart  # the number still says how far


STEPS = list(range(1, 1001))
# A start a hundred times above what is learned later, with one outlier late.
LOSSES = [100 * math.exp(-s / 10) + 1 - s / 2000 for s in STEPS]
LOSSES[700] = 50.0


def line(chart):
    """Points of the smooth line, heights from the top down."""
    path = re.search(r'<path class="line" d="M([^"]+)"', chart)
    assert path
    return [tuple(map(float, point.split())) for point in path[1].split("L")]


def test_neither_the_first_steps_nor_an_outlier_flatten_a_curve():
    calm = list(LOSSES)
    calm[700] = calm[699]
    low, high = settled_range(STEPS, calm)
    assert low < 0.51 and 0.9 < high < 1.2
    heights = [y for x, y in line(curve(STEPS, calm)) if x > 30]
    assert max(heights) - min(heights) > 70  # of 116: the later half of the learning is seen
    low, high = settled_range(STEPS, LOSSES)
    assert high < 4.0  # the moving mean over the outlier's neighbours, not the outlier


def test_a_curve_says_where_it_began_if_that_lies_above_the_picture():
    assert f"began at {LOSSES[0]:.3g} ↑" in curve(STEPS, LOSSES)
    assert "began at" not in curve([1, 2, 3], [3.0, 2.0, 1.0])  # too few to leave any out
    assert "step 1,000" in curve(STEPS, LOSSES)


def test_a_source_that_is_alone_is_drawn_once_and_one_point_is_no_curve():
    def records(*names):
        losses = dict.fromkeys(names, 1.0)
        return [{"step": s, "loss": 2.0 - s, "losses": losses} for s in (0, 1)]

    assert [one.name for one in curves(records("a"))] == ["a"]
    assert [one.name for one in curves(records("a", "b"))] == ["all together", "a", "b"]
    assert curves(records("a")[:1]) == [] == curves([])
    assert (curves(records("a", "b"))[0].first, curves(records("a"))[0].last) == (2.0, 1.0)
