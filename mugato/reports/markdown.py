"""The report as Markdown: the numbers, for terminals and code hosts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mugato.reports.rows import (
    DOMAIN_HEADER,
    TASK_HEADER,
    TYPE_HEADER,
    domain_rows,
    facts,
    headline,
    task_cells,
    type_cells,
    worst_first,
)


def report_markdown(data: Mapping[str, Any]) -> str:
    """Write `report_data`'s dictionary as a document."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    yield "# What the agent can do"
    yield ""
    for what, value, beside in headline(data):
        yield f"- **{what}: {value}** ({beside})"
    if data["domains"]:
        yield from _section("Domains")
        yield "Scores over tasks with 95 % intervals, and how many tasks reach so much of the "
        yield "expert's return."
        yield ""
        yield from markdown_table(DOMAIN_HEADER, domain_rows(data))
    if data["tasks"]:
        yield from _section("Tasks, the worst first")
        yield "0 is what random actions reach and 1 what the expert does; by JAT's: against the "
        yield "references that JAT published, where the returns compare."
        yield ""
        yield from markdown_table(
            TASK_HEADER, (task_cells(*entry) for entry in worst_first(data["tasks"]))
        )
        videos = [(n, r["video"]) for n, r in worst_first(data["tasks"]) if "video" in r]
        if videos:
            links = (f"[{n}]({v['path']}) (return {v['return']:.2f})" for n, v in videos)
            yield from ("", "Videos of one more episode each: " + ", ".join(links) + ".")
    if "vqa" in data:
        yield from _section("Questions")
        rows = (type_cells(*entry) for entry in data["vqa"]["per_type"].items())
        yield from markdown_table(TYPE_HEADER, rows)
    if "text" in data:
        yield from _section("Text")
        for sample in data["text"]["continuations"]:
            yield from ("```", sample["prompt"] + "⟦" + sample["written"] + "⟧", "```", "")
    for title, lines in _remarks(data):
        yield from _section(title)
        yield from (f"- {line}" for line in lines)
    yield from _section("How this was measured")
    yield from (f"- {name}: {value}" for name, value in facts(data))


def _remarks(data: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    if data["problems"]:
        yield "What failed", [f"{name}: {why}" for name, why in data["problems"].items()]
    if data["missing"]:
        yield "What this run does not have", data["missing"]


def _section(title: str) -> Iterator[str]:
    yield from ("", f"## {title}", "")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
