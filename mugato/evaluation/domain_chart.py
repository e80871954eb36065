"""How many tasks of each domain reach which share of the expert, as in the paper's figure 5."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 790, 300
LEFT, BOTTOM, LEGEND = 40, 34, 190
PERCENTS = range(0, 101, 5)
# Told apart also by those who see red and green alike (Okabe & Ito), and by their order.
COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b0a030", "#7f7f7f",
    "#8c564b", "#9467bd",
)  # fmt: skip


def domain_chart(scores: Mapping[str, Sequence[float]]) -> str:
    """Stacked bars: over each percentage of the expert's score the tasks at or above it.

    Args:
        scores: the normalised scores of each domain's tasks.
    """
    total = max(1, sum(map(len, scores.values())))
    unit = (HEIGHT - BOTTOM - 10) / total
    step = (WIDTH - LEFT - LEGEND) / len(PERCENTS)
    bars, ticks = [], []
    for i, percent in enumerate(PERCENTS):
        left, top = LEFT + i * step, float(HEIGHT - BOTTOM)
        for number, (domain, values) in enumerate(scores.items()):
            count = reaching(values, percent)
            top -= count * unit
            bars.append(_bar(domain, number, count, percent, (left, top, step - 4, count * unit)))
        if percent % 20 == 0:
            ticks.append(_label(left + step / 2 - 2, HEIGHT - BOTTOM + 16, f"{percent} %"))
    ticks += [
        _label(LEFT - 8, HEIGHT - BOTTOM - n * unit + 4, str(n), "end")
        for n in {0, total // 2, total}
    ]
    middle = LEFT + (WIDTH - LEFT - LEGEND) / 2
    axis = _label(middle, HEIGHT - 2, "share of the expert's score, 0 % being random actions")
    return (
        f'<svg class="chart domains" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"{''.join(bars)}{''.join(ticks)}{axis}{_legend(scores)}</svg>"
    )


def reaching(scores: Sequence[float], percent: int) -> int:
    """How many scores are at or above a percentage.

    >>> reaching([-0.2, 0.5, 1.3], 50)
    2
    """
    return sum(score >= percent / 100 for score in scores)


def _bar(domain: str, number: int, count: int, percent: int, box: tuple[float, ...]) -> str:
    if not count:
        return ""
    x, y, width, height = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{COLORS[number % len(COLORS)]}"><title>{escape(domain)}: {count} tasks at '
        f"{percent} % or above</title></rect>"
    )


def _legend(scores: Mapping[str, Sequence[float]]) -> str:
    """The domains from the top down, as they are stacked."""
    left = WIDTH - LEGEND + 16
    entries = []
    for line, (number, (domain, values)) in enumerate(reversed(list(enumerate(scores.items())))):
        y = 16 + 20 * line
        entries.append(
            f'<rect x="{left}" y="{y - 10}" width="12" height="12" '
            f'fill="{COLORS[number % len(COLORS)]}"/>'
            f'<text class="name" x="{left + 20}" y="{y}">{escape(domain)} ({len(values)})</text>'
        )
    return "".join(entries)


def _label(x: float | int, y: float | int, text: str, anchor: str = "middle") -> str:
    return (
        f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )
