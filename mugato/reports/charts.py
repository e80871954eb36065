"""Charts as inline SVG: they follow the page's colors, light or dark, and need no script.

They are as wide as the page, a telephone's too: places along it are percentages, so that only
lengths are stretched and letters keep their size. How many tasks of each domain reach which share
of the expert is drawn as in the paper's figure 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

ROW_HEIGHT, BAR_TOP, BAR_HEIGHT = 40, 20, 13
# No axis reaches further: one task far below random actions would flatten all others.
LOWEST, HIGHEST = -1.0, 2.0
CURVE_WIDTH, CURVE_HEIGHT = 280, 140
NUM_POINTS = 300  # more than the eye can tell apart at this size
# A curve's axis holds this share of the values, of those after this share of the steps.
SHOWN, SETTLED = 0.96, 0.1


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


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From values to places along the page, in percent; what lies beyond is at the end."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies.

        >>> [Axis(low=-1.0, high=1.0).place(value) for value in (-1.0, 0.5, 7.0)]
        [0.0, 75.0, 100.0]
        """
        kept = min(max(value, self.low), self.high)
        return round(100 * (kept - self.low) / (self.high - self.low), 2)


def bar_chart(bars: Sequence[Bar], *, lines: Sequence[float | int] = (0.5, 1.0)) -> str:
    """Horizontal bars in the order given, with intervals as whiskers and lines at some values.

    A name stands above its bar, where there is room on narrow pages. What lies beyond -100 % or
    200 % is cut there; its number says how far it reaches.
    """
    extents = [end for bar in bars for end in bar.extent]
    axis = Axis(low=max(LOWEST, min([0.0, *extents])), high=min(HIGHEST, max([1.0, *extents])))
    height = ROW_HEIGHT * len(bars) + 22
    grid = "".join(
        f'<line class="grid" x1="{axis.place(line)}%" x2="{axis.place(line)}%" '
        f'y1="{ROW_HEIGHT * i + BAR_TOP - 3}" y2="{ROW_HEIGHT * (i + 1) - 4}"/>'
        for line in (0.0, *lines)
        for i in range(len(bars))
    )
    ticks = "".join(
        f'<text class="tick" x="{axis.place(line)}%" y="{height - 6}" '
        f'text-anchor="{_anchor(axis.place(line))}">{line:.0%}</text>'
        for line in (0.0, *lines)
    )
    rows = "".join(_bar(bar, ROW_HEIGHT * i, axis) for i, bar in enumerate(bars))
    return f'<svg class="chart" width="100%" height="{height}" role="img">{grid}{rows}{ticks}</svg>'


def _bar(bar: Bar, top: int, axis: Axis) -> str:
    name, place, bar_top = escape(bar.name), axis.place, top + BAR_TOP
    title, extra = f"{name}: {bar.value:.1%}", ""
    if bar.interval is not None:
        low, high = bar.interval
        title += f", 95 % interval {low:.1%} to {high:.1%}"
        middle = bar_top + BAR_HEIGHT / 2
        extra += _line("whisker", (place(low), place(high)), (middle, middle))
        for end in (place(low), place(high)):
            extra += _line("whisker", (end, end), (middle - 4, middle + 4))
    if bar.mark is not None:
        title += f", to compare {bar.mark:.1%}"
        at = place(bar.mark)
        extra += _line("mark", (at, at), (bar_top - 3, bar_top + BAR_HEIGHT + 3))
    grade = bar.grade or ("good" if bar.value >= 0.8 else "fair" if bar.value >= 0.5 else "poor")
    left = min(place(0.0), place(bar.value))
    length = max(abs(place(bar.value) - place(0.0)), 0.4)
    return (
        f'<g><title>{title}</title><text class="name" x="0" y="{top + 14}">{name}</text>'
        f'<text class="value" x="100%" y="{top + 14}" text-anchor="end">{bar.value:.0%}</text>'
        f'<rect class="bar {grade}" x="{left}%" y="{bar_top}" width="{length:.2f}%" '
        f'height="{BAR_HEIGHT}" rx="3"/>{extra}</g>'
    )


def _line(kind: str, x: tuple[float, float], y: tuple[float | int, float | int]) -> str:
    return f'<line class="{kind}" x1="{x[0]}%" x2="{x[1]}%" y1="{y[0]}" y2="{y[1]}"/>'


def _anchor(percent: float) -> str:
    """Keep a label within the page: at its edges it is written inwards."""
    return "start" if percent < 4 else "end" if percent > 96 else "middle"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A loss over the steps: whose, drawn, and where it began and ended."""

    name: str
    chart: str
    first: float
    last: float


def curves(metrics: Sequence[Mapping]) -> list[Curve]:
    """Draw the loss over the steps: all together, then each source; one that is alone is all.

    What was reported only once is no curve.
    """
    names = list(dict.fromkeys(name for record in metrics for name in record["losses"]))
    losses = {"all together": [(record["step"], record["loss"]) for record in metrics]}
    if len(names) == 1:
        losses = {}
    for name in names:
        losses[name] = [(r["step"], r["losses"][name]) for r in metrics if name in r["losses"]]
    return [_named_curve(name, points) for name, points in losses.items() if len(points) > 1]


def _named_curve(name: str, points: Sequence[tuple[int, float]]) -> Curve:
    steps, values = (list(column) for column in zip(*points, strict=True))
    return Curve(name=name, chart=curve(steps, values), first=values[0], last=_smooth(values)[-1])


def curve(steps: Sequence[float | int], values: Sequence[float | int]) -> str:
    """Draw (step, value) points, the steps from 0; a moving mean lies over the raw values.

    The values' axis is that of `settled_range`: what was higher at first is cut off, and said.
    """
    stride, smooth = -(-len(steps) // NUM_POINTS), _smooth(values)
    low, high = settled_range(steps, values)
    left, top, bottom, last = 38, 6, CURVE_HEIGHT - 18, max([*steps, 1])
    width, height = CURVE_WIDTH - left - 4, bottom - top

    def path(ys: Sequence[float | int]) -> str:
        points = zip(steps[::stride], ys[::stride], strict=True)
        places = (f"{width * x / last:.1f} {height * (high - y) / (high - low):.1f}"
                  for x, y in points)  # fmt: skip
        return "M" + "L".join(places)

    labels = [
        (left - 5, top + 9, "end", f"{high:.3g}"), (left - 5, bottom, "end", f"{low:.3g}"),
        (left, CURVE_HEIGHT - 4, "start", "0"),
        (CURVE_WIDTH - 4, CURVE_HEIGHT - 4, "end", f"step {last:,}"),
    ]  # fmt: skip
    if values[0] > high:
        labels.append((CURVE_WIDTH - 4, top + 9, "end", f"began at {values[0]:.3g} ↑"))
    texts = "".join(_label(x, y, text, anchor) for x, y, anchor, text in labels)
    # The inner picture cuts off what does not fit.
    return (
        f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img">'
        f'<path class="axis" d="M{left} {top}V{bottom}H{CURVE_WIDTH - 4}"/>'
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}">'
        f'<path class="raw" d="{path(values)}"/><path class="line" d="{path(smooth)}"/></svg>'
        f"{texts}</svg>"
    )


def settled_range(
    steps: Sequence[float | int], values: Sequence[float | int]
) -> tuple[float, float]:
    """Return the range that shows what was learned after the first tenth of the steps.

    It holds the middle 96 % of those values, and all of their moving mean, with a margin; of fewer
    than five of them, all values. So neither the start nor a single outlier flattens the rest.

    >>> settled_range(range(101), [9.0] * 5 + [2.0, 1.0] * 48)
    (0.95, 2.05)
    """
    begin = steps[0] + SETTLED * (steps[-1] - steps[0])
    settled = [i for i, step in enumerate(steps) if step >= begin]
    if len(settled) < 5:
        settled = list(range(len(steps)))
    found = np.array([values[i] for i in settled], float)
    means = _smooth(values)
    smooth = [means[i] for i in settled]
    low, high = np.quantile(found, [(1 - SHOWN) / 2, (1 + SHOWN) / 2])
    low, high = float(min(low, *smooth)), float(max(high, *smooth))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _smooth(values: Sequence[float | int], *, share: float = 0.04) -> list[float]:
    """Return a centered moving mean over a share of the points.

    >>> _smooth([0.0, 3.0, 0.0], share=1.0)
    [1.5, 1.0, 1.5]
    """
    reach = max(1, int(len(values) * share / 2))
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


HEIGHT, BOTTOM, LEFT = 260, 22, 7  # the last in percent of the width
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
    step = (100 - LEFT) / len(PERCENTS)
    bars, ticks = [], []
    for i, percent in enumerate(PERCENTS):
        left, top = LEFT + i * step, float(HEIGHT - BOTTOM)
        for number, (domain, values) in enumerate(scores.items()):
            count = reaching(values, percent)
            top -= count * unit
            bars.append(
                _domain_bar(domain, number, count, percent, (left, top, 0.85 * step, count * unit))
            )
        if percent % 20 == 0:
            ticks.append(_label(f"{left + 0.42 * step:.2f}%", HEIGHT - 6, f"{percent} %"))
    ticks += [
        _label(f"{LEFT - 1.5}%", HEIGHT - BOTTOM - n * unit + 4, str(n), "end")
        for n in {0, total // 2, total}
    ]
    return (
        f'<svg class="chart domains" width="100%" height="{HEIGHT}" role="img">'
        f"{''.join(bars)}{''.join(ticks)}</svg>{_legend(scores)}"
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
        f'<rect x="{x:.2f}%" y="{y:.1f}" width="{width:.2f}%" height="{height:.1f}" '
        f'fill="{COLORS[number % len(COLORS)]}"><title>{escape(domain)}: {count} tasks at '
        f"{percent} % or above</title></rect>"
    )


def _legend(scores: Mapping[str, Sequence[float]]) -> str:
    """Name the domains under the chart, where they find as many lines as they need."""
    entries = "".join(
        f'<li><span style="background:{COLORS[number % len(COLORS)]}"></span>'
        f"{escape(domain)} ({len(values)})</li>"
        for number, (domain, values) in enumerate(scores.items())
    )
    return f'<ul class="legend">{entries}</ul>'


def _label(x: float | int | str, y: float | int, text: str, anchor: str = "middle") -> str:
    return f'<text class="tick" x="{x}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
