"""Charts as inline SVG: they follow the page's colors, light or dark, and need no script.

How many tasks of each domain reach which share of the expert, as in the paper's figure 5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

LABEL_WIDTH, BAR_WIDTH, ROW_HEIGHT, VALUE_WIDTH = 250, 480, 30, 60
CURVE_WIDTH, CURVE_HEIGHT = 260, 120
NUM_POINTS = 300  # more than the eye can tell apart at this size


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a share, with an interval or a mark to compare it with.

    Attributes:
        grade: "good", "fair" or "poor", which is its color; by its value if None.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    mark: float | None = None
    grade: str | None = None

    @property
    def extent(self) -> tuple[float, ...]:
        """Everything that must fit on the axis."""
        return (self.value, *(self.interval or ()), *(() if self.mark is None else (self.mark,)))


def bar_chart(bars: Sequence[Bar], *, lines: Sequence[float | int] = (0.5, 1.0)) -> str:
    """Horizontal bars in the order given, with intervals as whiskers and lines at some values."""
    highest = max([1.0, *(max(bar.extent) for bar in bars)])
    lowest = min([0.0, *(min(bar.extent) for bar in bars)])

    def x(value: float) -> float:
        return round(LABEL_WIDTH + BAR_WIDTH * (value - lowest) / (highest - lowest), 1)

    height = ROW_HEIGHT * len(bars) + 26
    width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
    grid = [
        f'<line class="grid" x1="{x(line)}" x2="{x(line)}" y1="0" y2="{height - 22}"/>'
        f'<text class="tick" x="{x(line)}" y="{height - 6}" text-anchor="middle">{line:.0%}</text>'
        for line in (0.0, *lines)
    ]
    rows = [_bar(bar, ROW_HEIGHT * i, x) for i, bar in enumerate(bars)]
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">'
        f"{''.join(grid)}{''.join(rows)}</svg>"
    )


def _bar(bar: Bar, top: int, x: Callable[[float], float]) -> str:
    middle, name = top + ROW_HEIGHT // 2, escape(bar.name)
    title, extra = f"{name}: {bar.value:.1%}", ""
    if bar.interval is not None:
        low, high = bar.interval
        title += f", 95 % interval {low:.1%} to {high:.1%}"
        ends = f"M{x(low)} {middle - 4}v8M{x(high)} {middle - 4}v8"
        extra += f'<path class="whisker" d="M{x(low)} {middle}H{x(high)}{ends}"/>'
    if bar.mark is not None:
        title += f", to compare {bar.mark:.1%}"
        extra += f'<path class="mark" d="M{x(bar.mark)} {top + 4}v{ROW_HEIGHT - 8}"/>'
    grade = bar.grade or ("good" if bar.value >= 0.8 else "fair" if bar.value >= 0.5 else "poor")
    left, length = min(x(0.0), x(bar.value)), abs(x(bar.value) - x(0.0))
    right = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH
    return (
        f'<g><title>{title}</title><text class="name" x="{LABEL_WIDTH - 10}" y="{middle + 4}" '
        f'text-anchor="end">{name}</text><rect class="bar {grade}" x="{left}" y="{top + 7}" '
        f'width="{max(length, 1.5):.1f}" height="{ROW_HEIGHT - 14}" rx="3"/>{extra}'
        f'<text class="value" x="{right}" y="{middle + 4}" text-anchor="end">{bar.value:.0%}</text>'
        "</g>"
    )


def curves(metrics: Sequence[Mapping]) -> list[tuple[str, str]]:
    """(name, chart) of the loss over the steps: all together first, then each source."""
    steps = [record["step"] for record in metrics]
    charts = [("all", curve(steps, [record["loss"] for record in metrics]))]
    for name in dict.fromkeys(name for record in metrics for name in record["losses"]):
        points = [(r["step"], r["losses"][name]) for r in metrics if name in r["losses"]]
        charts.append((name, curve(*(list(values) for values in zip(*points, strict=True)))))
    return charts


def curve(steps: Sequence[float | int], values: Sequence[float | int]) -> str:
    """Draw (step, value) points, the axes from 0; a moving mean lies over the raw values."""
    stride = -(-len(steps) // NUM_POINTS)
    steps, values, smooth = steps[::stride], values[::stride], _smooth(values)[::stride]
    left, bottom, last, highest = 30, CURVE_HEIGHT - 16, max([*steps, 1]), max([*values, 1e-9])

    def path(ys: Sequence[float | int]) -> str:
        xs = [left + (CURVE_WIDTH - left - 4) * step / last for step in steps]
        heights = [bottom - (bottom - 6) * y / highest for y in ys]
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, heights, strict=True))

    ticks = ((left - 4, 12, f"{highest:.2g}"), (left - 4, bottom, "0"))
    corner = (CURVE_WIDTH - 4, CURVE_HEIGHT - 3, f"{last:g}")
    labels = "".join(
        f'<text class="tick" x="{x}" y="{y}" text-anchor="end">{label}</text>'
        for x, y, label in (*ticks, corner)
    )
    return (
        f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img">'
        f'<path class="axis" d="M{left} 4V{bottom}H{CURVE_WIDTH - 4}"/>{labels}'
        f'<path class="raw" d="{path(values)}"/><path class="line" d="{path(smooth)}"/></svg>'
    )


def _smooth(values: Sequence[float | int], *, share: float = 0.04) -> list[float]:
    """Return a centered moving mean over a share of the points.

    >>> _smooth([0.0, 3.0, 0.0], share=1.0)
    [1.5, 1.0, 1.5]
    """
    reach = max(1, int(len(values) * share / 2))
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


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
            bars.append(
                _domain_bar(domain, number, count, percent, (left, top, step - 4, count * unit))
            )
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


def _domain_bar(domain: str, number: int, count: int, percent: int, box: tuple[float, ...]) -> str:
    if not count:
        return ""
    x, y, width, height = box
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{COLORS[number % len(COLORS)]}"><title>{escape(domain)}: {count} tasks at '
        f"{percent} % or above</title></rect>"
    )


def _legend(scores: Mapping[str, Sequence[float]]) -> str:
    """Order the domains from the top down, as they are stacked."""
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
