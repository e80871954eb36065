"""The report as one page that needs nothing else: pictures and videos travel inside it."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mugato.evaluation.pictures import Sample
from mugato.evaluation.results import EvaluationResults
from mugato.reports.charts import Bar, bar_chart, curves, domain_chart
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


def report_html(
    data: Mapping[str, Any], findings: EvaluationResults, metrics: Sequence[Mapping[str, Any]]
) -> str:
    """Write `report_data`'s dictionary as a page with the findings' pictures and videos."""
    return page("mugato: what the agent can do", "\n".join(_sections(data, findings, metrics)))


def page(title: str, body: str) -> str:
    """A whole page in our style."""
    style = files("mugato.reports").joinpath("templates", "report.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _sections(
    data: Mapping[str, Any], findings: EvaluationResults, metrics: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    names = [*data["train"]["tasks"], *data["train"]["sources"]]
    yield "<header><h1>What the agent can do</h1>"
    yield f"<p>One set of weights, {data['train']['parameters'] / 1e6:.1f} M parameters, trained "
    yield f"on {len(names)} tasks and sources. {escape(data['date'][:10])}</p></header>"
    yield f'<div class="cards">{"".join(_card(*entry) for entry in headline(data))}</div>'
    yield from remarks_section(
        "What failed", [f"{n}: {why}" for n, why in data["problems"].items()]
    )
    if data["domains"]:
        yield from _domains(data)
    if data["tasks"]:
        yield from _tasks(data["tasks"])
    if findings.videos:
        yield "<section><h2>Watch it act</h2><p>One more episode of each task, the worst first, at "
        yield 'a seed that was neither trained on nor scored.</p><div class="videos">'
        names = dict.fromkeys([*(name for name, _ in worst_first(data["tasks"])), *findings.videos])
        yield from (
            _video(name, findings.videos[name], data["tasks"].get(name))
            for name in names
            if name in findings.videos
        )
        yield "</div></section>"
    if findings.questions is not None:
        yield from _questions(data["vqa"], findings.questions.samples)
    if findings.captions is not None:
        yield "<section><h2>Pictures named</h2><p>Exact captions of pictures seen in training are "
        yield "memory; those of pictures never seen are guesses.</p>"
        yield f"{_pictures(findings.captions.samples)}</section>"
    if findings.text is not None:
        yield from _text(data["text"])
    if metrics:
        yield "<section><h2>How it learned</h2><p>Loss in nats per target, over the steps.</p>"
        yield '<div class="curves">'
        yield from (_curve(name, chart) for name, chart in curves(metrics))
        yield "</div></section>"
    yield from remarks_section("What this run does not have", data["missing"])
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts(data))
    yield f'<section><h2>How this was measured</h2><dl class="facts">{rows}</dl></section>'


def _card(what: str, value: str, beside: str) -> str:
    return (
        f'<div class="card"><div class="what">{escape(what)}</div>'
        f'<div class="number">{escape(value)}</div><div class="beside">{escape(beside)}</div></div>'
    )


def _domains(data: Mapping[str, Any]) -> Iterator[str]:
    scores = {
        domain: [
            row["normalized_score"]
            for row in data["tasks"].values()
            if row["domain"] == domain and row["normalized_score"] is not None
        ]
        for domain in data["domains"]
    }
    yield "<section><h2>Domains</h2><p>How many tasks reach at least so much of the way from "
    yield "random actions to the expert (figure 5 of the Gato paper).</p>"
    yield domain_chart(scores)
    yield table(DOMAIN_HEADER, domain_rows(data))
    yield "</section>"


def _tasks(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    ordered = worst_first(tasks)
    scored = [(name, row) for name, row in ordered if row["normalized_score"] is not None]
    yield "<section><h2>Tasks</h2><p>The worst first. 0 % is what random actions reach, 100 % what "
    yield "the expert does; the whiskers are 95 % bootstrap intervals over the agent's episodes. "
    yield "By JAT's: against the references that JAT published, where the returns compare.</p>"
    if scored:
        yield bar_chart(
            [
                Bar(name=name, value=row["normalized_score"], interval=tuple(row["ci95"]))
                for name, row in scored
            ]
        )
    yield table(TASK_HEADER, (task_cells(*entry) for entry in ordered))
    yield "</section>"


def _questions(vqa: Mapping[str, Any], samples: Iterable[Sample]) -> Iterator[str]:
    yield "<section><h2>Questions answered</h2><p>The published test split of easy-vqa, decoded "
    yield "freely; only the exact answer counts. Always giving the type's commonest answer is the "
    yield "mark to pass.</p>"
    yield bar_chart(
        [
            Bar(name=kind, value=row["accuracy"], mark=row["majority"])
            for kind, row in vqa["per_type"].items()
        ]
    )
    yield table(TYPE_HEADER, (type_cells(*entry) for entry in vqa["per_type"].items()))
    yield f"{_pictures(samples)}</section>"


def _text(text: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2>Text continued</h2><p>Prompts from {escape(text['text'])}; "
    yield "what follows in color is the agent's.</p>"
    for sample in text["continuations"]:
        written = f"<em>{escape(sample['written'])}</em>"
        yield f"<blockquote>{escape(sample['prompt'])}{written}</blockquote>"
    yield "</section>"


def _video(name: str, video: Any, row: Mapping[str, Any] | None) -> str:
    source = data_uri(video.path.read_bytes(), "video/mp4")
    said = "".join(f"<div>“{escape(text)}”</div>" for text in video.texts)
    beside = "" if row is None else f" (expert {row['expert']:.2f})"
    return (
        f'<figure><video src="{source}" controls loop muted playsinline preload="metadata"></video>'
        f"<figcaption><b>{escape(name)}</b>{said}<div>return {video.episode_return:.2f}{beside}, "
        f"{video.length} timesteps, seed {video.seed}</div></figcaption></figure>"
    )


def _pictures(samples: Iterable[Sample]) -> str:
    return f'<div class="pictures">{"".join(map(_figure, samples))}</div>'


def _figure(sample: Sample) -> str:
    right = sample.given == sample.expected
    mark = "right" if right else "wrong"
    asked = f"<div>{escape(sample.question)}</div>" if sample.question else ""
    instead = "" if right else f'<div class="expected">{escape(sample.expected)}</div>'
    picture = data_uri(_png(sample.image), "image/png")
    return (
        f'<figure><img src="{picture}" alt="{escape(sample.expected)}"><figcaption>'
        f'{asked}<div class="{mark}">{escape(sample.given) or "nothing"}</div>{instead}'
        f'<div class="label">{escape(sample.label)}</div></figcaption></figure>'
    )


def _curve(name: str, chart: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(name)}</figcaption></figure>"


def remarks_section(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines under a title; nothing if there are none."""
    if lines:
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f'<section class="remarks"><h2>{title}</h2><ul>{items}</ul></section>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that may be wider than the page."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def data_uri(content: bytes, media_type: str) -> str:
    """Content as an address that holds it.

    >>> data_uri(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def _png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()
