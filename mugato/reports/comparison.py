"""A comparison as Markdown for the terminal, and as a page."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from mugato.evaluation.comparison import Comparison, Difference
from mugato.reports.charts import Bar, bar_chart
from mugato.reports.html import page, remarks_section, table
from mugato.reports.markdown import markdown_table
from mugato.reports.rows import facts

HEADER = ["", "first", "second", "change", "95 % interval", "pairs"]
KINDS = {"mean": "mean", "median": "median", "iqm": "inter-quartile mean"}
# What must be known of both to judge what differs.
FACTS = ("parameters", "training", "episodes", "references", "command", "machine", "commit", "date")
EXPLANATION = (
    "Normalized scores (0 random actions, 1 the expert), change being the second less the first. "
    "Episodes at the same seed are pairs, and the intervals come from resampling pairs, each "
    "task's by itself; a change is marked with * where its interval leaves out zero."
)


def comparison_markdown(found: Comparison, *, names: tuple[str, str]) -> str:
    """The comparison as a document.

    Args:
        names: what the two runs are called.
    """
    return "\n".join(_lines(found, names)) + "\n"


def comparison_html(
    found: Comparison, reports: tuple[Mapping[str, Any], Mapping[str, Any]], names: tuple[str, str]
) -> str:
    """The comparison as a page that needs nothing else."""
    return page("mugato: two agents compared", "\n".join(_sections(found, reports, names)))


def _lines(found: Comparison, names: tuple[str, str]) -> Iterator[str]:
    yield f"# {names[1]} (second) beside {names[0]} (first)"
    yield from ("", EXPLANATION, "")
    yield from markdown_table(HEADER, (_cells(KINDS[k], d) for k, d in found.overall.items()))
    yield ""
    yield from markdown_table(HEADER, (_cells(*entry) for entry in _worst_first(found)))
    if found.remarks:
        yield ""
        yield from (f"- {remark}" for remark in found.remarks)


def _sections(
    found: Comparison, reports: tuple[Mapping[str, Any], Mapping[str, Any]], names: tuple[str, str]
) -> Iterator[str]:
    first, second = map(escape, names)
    yield f"<header><h1>Two agents compared</h1><p>{second} (second) beside {first} (first). "
    yield f"{EXPLANATION}</p></header><section><h2>Over {len(found.tasks)} tasks</h2>"
    yield table(HEADER, (_cells(KINDS[k], d) for k, d in found.overall.items()))
    yield "</section><section><h2>Tasks</h2><p>What became worst comes first.</p>"
    yield bar_chart([_bar(*entry) for entry in _worst_first(found)], lines=())
    yield table(HEADER, (_cells(*entry) for entry in _worst_first(found)))
    yield "</section>"
    yield from remarks_section("What was not compared, or not alike", found.remarks)
    one, other = (dict(facts(report)) for report in reports)
    rows = ([name, one.get(name, ""), other.get(name, "")] for name in FACTS)
    yield "<section><h2>How both were measured</h2>"
    yield f"{table(['', names[0], names[1]], rows)}</section>"


def _worst_first(found: Comparison) -> list[tuple[str, Difference]]:
    return sorted(found.tasks.items(), key=lambda entry: entry[1].change)


def _cells(name: str, difference: Difference) -> list[str]:
    low, high = difference.interval
    return [
        name,
        f"{difference.first:.2f}",
        f"{difference.second:.2f}",
        f"{difference.change:+.2f}{'*' if difference.is_significant else ''}",
        f"{low:+.2f} to {high:+.2f}",
        str(difference.pairs),
    ]


def _bar(name: str, difference: Difference) -> Bar:
    grade = "fair" if not difference.is_significant else "good" if difference.change > 0 else "poor"
    return Bar(name=name, value=difference.change, interval=difference.interval, grade=grade)
