"""The paper's figure 5 from our scores: heights are counts."""

import re

from mugato.reports.charts import COLORS, domain_chart, reaching


def heights(chart, color):
    """Of a domain's bars, from 0 % to 100 %."""
    found = re.findall(rf'<rect x="([\d.]+)" y="[\d.]+" width="[\d.]+" height="([\d.]+)" '
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
