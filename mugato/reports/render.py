"""Reports from results: Markdown, and pages that need nothing else, pictures and videos inside.

The words and the markup stand in `templates/`, the numbers come from `tables` and `charts`.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8

from mugato.evaluation.ablation import Ablation
from mugato.evaluation.comparison import Comparison
from mugato.evaluation.language import AnswerResults, CaptionResults
from mugato.evaluation.results import EvaluationResults
from mugato.evaluation.text import TextScores
from mugato.reports import charts, tables
from mugato.reports.charts import Bar
from mugato.reports.scales import MARK, cautions, marked
from mugato.system.files import write_text_whole
from mugato.training.run_info import read_metrics

MARKDOWN, HTML, ABLATION = "report.md", "report.html", "ablation.md"


def write_report(results: EvaluationResults) -> None:
    """Write `report.md` and `report.html` into the run's folder, each whole or not at all.

    Raises:
        OSError: naming the file that could not be written.
    """
    page, text = report_html(results, read_metrics(results.run)), report_markdown(results)
    write_text(results.run / HTML, page)
    write_text(results.run / MARKDOWN, text)


def report_markdown(results: EvaluationResults) -> str:
    """Write results as a document."""
    return _render("report.md.j2", **_report(results))


def report_html(results: EvaluationResults, metrics: Sequence[Mapping[str, Any]]) -> str:
    """Write results as a page, with the losses of the training."""
    scored = [task for task in tables.worst_first(results) if task.score is not None]
    bars = [Bar(name=marked(task), value=task.score or 0.0, interval=task.ci95) for task in scored]
    domains = {
        name: [task.score or 0.0 for task in results.tasks.values()
               if task.domain == name and task.score is not None]
        for name in results.domains
    }  # fmt: skip
    return _render(
        "report.html.j2",
        **_report(results),
        domain_chart=charts.domain_chart(domains) if domains else "",
        task_chart=charts.bar_chart(bars) if bars else "",
        curves=charts.curves(metrics),
    )


def comparison_markdown(found: Comparison, names: Sequence[str] | None = None) -> str:
    """Write a comparison as a document; `names` are those of both runs, their folders' if None."""
    return _render("comparison.md.j2", **_comparison(found, names))


def comparison_html(found: Comparison, names: Sequence[str] | None = None) -> str:
    """Write a comparison as a page; `names` are those of both runs, their folders' if None."""
    bars = [
        Bar(name=name, value=change.change, interval=change.interval,
            grade=("good" if change.change > 0 else "poor") if change.is_significant else "fair")
        for name, change in _by_change(found).items()
    ]  # fmt: skip
    return _render(
        "comparison.html.j2",
        **_comparison(found, names),
        chart=charts.bar_chart(bars, lines=()),
        facts=tables.facts_table(found, names or run_names(found)),
    )


def ablation_markdown(found: Ablation) -> str:
    """Write an ablation as a document."""
    return _render(
        "ablation.md.j2",
        found=found,
        name=found.plan.run.resolve().name,
        conditions=tables.condition_table(found),
        changes=tables.change_table(found),
        remarks=[*found.remarks, *tables.ablation_cautions(found)],
        weights=tables.weights(found.agent),
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_text_whole(path, text)


def data_uri(content: bytes, media_type: str) -> str:
    """Return content as an address that holds it.

    >>> data_uri(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def _report(results: EvaluationResults) -> dict[str, Any]:
    """Return what the page and the document have in common."""
    tasks = [task.name for task in tables.worst_first(results)]
    shown = [*tasks, *(name for name in results.videos if name not in tasks)]
    return {
        "results": results,
        "name": results.name,
        "stale": results.stale,
        "trained": list(_trained(results)),
        "trained_on": tables.trained_on(results.agent),
        "headline": list(tables.headline(results)),
        "domains": tables.domain_table(results),
        "tasks": tables.task_table(results).without_empty(),
        "cautions": cautions(results),
        "references": tables.reference_table(results),
        "videos": [(name, results.videos[name]) for name in shown if name in results.videos],
        "questions": tables.of_kind(results, AnswerResults),
        "captions": tables.of_kind(results, CaptionResults),
        "texts": tables.of_kind(results, TextScores),
        "problems": [f"{name}: {why}" for name, why in results.problems.items()],
        "facts": list(tables.facts(results)),
    }


def _trained(results: EvaluationResults) -> Iterator[str]:
    """Yield what stands under the title: how far the training came, and which weights it left."""
    agent = results.agent
    if agent.seconds is not None:
        yield f"Training: {tables.training(agent)}."
    if agent.ended is not None:
        yield f"It ended: {tables.ENDED[agent.ended]}."
    if agent.fingerprint is not None:
        yield f"Weights: {tables.weights(agent)}."


def run_names(found: Comparison) -> tuple[str, str]:
    """Name both runs by their folders, as far up as it takes to tell them apart."""
    one, other = (results.run.resolve().parts for results in (found.first, found.second))
    for depth in range(1, max(len(one), len(other))):
        if one[-depth:] != other[-depth:]:
            return "/".join(one[-depth:]), "/".join(other[-depth:])
    return found.first.name, found.second.name


def _comparison(found: Comparison, names: Sequence[str] | None) -> dict[str, Any]:
    names = names or run_names(found)
    overall = {tables.AGGREGATE_NAMES[kind]: one for kind, one in found.overall.items()}
    sides = list(zip(names, (found.first, found.second), strict=True))
    notes = {
        f"{task} {MARK}, {name}": why
        for name, results in sides
        for task, why in cautions(results).items()
        if task in found.tasks
    }
    return {
        "found": found,
        "names": names,
        "stale": [f"{name}: {results.stale}" for name, results in sides if results.stale],
        "cautions": notes,
        "overall": tables.difference_table(overall),
        "tasks": tables.difference_table(_by_change(found)),
    }


def _by_change(found: Comparison) -> dict[str, Any]:
    """Return the tasks' differences, what became worst first; marked where a score misleads."""
    misleading = {*cautions(found.first), *cautions(found.second)}
    changes = sorted(found.tasks.items(), key=lambda entry: entry[1].change)
    return {f"{name} {MARK}" if name in misleading else name: one for name, one in changes}


def _render(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(**context)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mugato.reports"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    environment.filters["mp4_uri"] = lambda path: data_uri(path.read_bytes(), "video/mp4")
    environment.filters["png_uri"] = lambda image: data_uri(_png(image), "image/png")
    environment.globals.update(type_table=tables.type_table, type_chart=_type_chart)
    return environment


def _type_chart(answers: AnswerResults) -> str:
    return charts.bar_chart(
        [
            Bar(name=kind, value=found.accuracy, mark=found.majority)
            for kind, found in answers.scores.per_type.items()
        ]
    )


def _png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()
