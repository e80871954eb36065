"""Pages and documents: what is said stands as it was said, markup and all."""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from mugato.data.metrics import AnswerScores, CaptionScores, TypeScores
from mugato.evaluation.agent_info import fingerprint
from mugato.evaluation.comparison import compare
from mugato.evaluation.language import AnswerResults, CaptionResults, Sample
from mugato.evaluation.scores import Reference
from mugato.evaluation.text import Continuation, TextScores
from mugato.model.serialization import WEIGHTS
from mugato.reports.render import (
    comparison_html,
    comparison_markdown,
    report_html,
    report_markdown,
)
from mugato.reports.tables import reference_table, task_table
from tests.evaluation.test_comparison import report


def answers(share):
    kind = TypeScores(
        accuracy=share, questions=2, majority_answer="yes", majority=0.5, own_majority=0.75
    )
    sample = Sample(
        image=np.zeros((2, 2, 3), np.uint8), label="a | b", question="<who>?", expected="me",
        given="" if share == 0 else "me",
    )  # fmt: skip
    scores = AnswerScores(questions=2, accuracy=share, majority=0.5, per_type={"a | b": kind})
    return AnswerResults(split="test", scores=scores, samples=(sample,))


@pytest.fixture
def results():
    captions = CaptionScores(
        pictures=3, exact_match=0.5, bleu=1.0, chrf=2.0, signatures={"bleu": "b", "chrf": "c"}
    )
    text = TextScores(
        bits_per_byte=2.0, bz2_bits_per_byte=3.0, unigram_bits_per_byte=4.0, bytes=9, text="a play",
        continuations=(Continuation(prompt="To <be>\n", written="& not", original=""),),
    )  # fmt: skip
    return dataclasses.replace(
        report([1.0, 3.0], seeds=range(3_000_000, 3_000_002)),
        sources={
            "mine?size_px=8": answers(0.0),
            "yours": answers(1.0),
            "named": CaptionResults(split="test", seen=captions, held_out=captions),
            "prose": text,
        },
        problems={"walk": "it <fell>"},
        missing=["no <luck>"],
    )


def test_the_page_escapes_what_is_said(results):
    page = report_html(results, [])
    for said in (
        "To &lt;be&gt;\n<em>&amp; not</em>",
        "&lt;who&gt;?",
        "it &lt;fell&gt;",
        "no &lt;luck",
    ):
        assert said in page
    assert "<who>" not in page and "<be>" not in page
    assert '<div class="wrong">nothing</div>' in page and '<div class="right">me</div>' in page
    assert "Questions answered: mine?size_px=8" in page and "Questions answered: yours" in page
    assert "Pictures named</h2>" in page  # the only one of its kind needs no name
    assert page.count("<svg") == 3 and "How it learned" not in page


def test_the_document_says_the_same(results):
    text = report_markdown(results)
    assert "- **mean normalized score: 0.20** (95 % interval 0.10 to 0.30; 1 task;" in text
    assert "of 2 in mine's test split; always the commonest answer: 50.0%" in text
    assert "## Questions: yours\n\n| question type | accuracy |" in text
    assert "| a \\| b | 100.0% | 50.0% (yes) | 75.0% | 2 |" in text
    assert "```\nTo <be>\n⟦& not⟧\n```" in text
    assert "## What failed\n\n- walk: it <fell>\n" in text
    assert text.endswith("- date: 2026-01-01\n")


def test_the_terminal_shows_some_columns_of_the_same_table(results):
    cells = task_table(results)
    few = cells.select("task", "normalized")
    assert few.rows == [["walk", "0.20"]] and cells.rows[0][0] == "walk"


def test_a_comparison_stands_beside_how_both_were_measured(results):
    page = comparison_html(compare(results, report([2.0, 4.0], seeds=range(3_000_000, 3_000_002))),
                           ("<a>", "b"))  # fmt: skip
    assert "b (second) beside &lt;a&gt; (first). Normalized scores" in page
    assert "each task's by itself" in page and "mugato evaluate &lt;a&gt;" in page


def two(run):
    return report([2.0, 4.0], seeds=range(3_000_000, 3_000_002), run=run)


def test_the_runs_name_stands_in_title_and_heading(results):
    results = dataclasses.replace(results, run=Path("runs/<mine>"))
    page = report_html(results, [])
    assert "<title>&lt;mine&gt;: what the agent can do</title>" in page
    assert "<h1>&lt;mine&gt;: what the agent can do</h1>" in page
    assert report_markdown(results).startswith("# <mine>: what the agent can do\n")


@pytest.mark.parametrize(
    ("runs", "names"),
    [(("runs/a", "runs/b"), ("a", "b")), (("x/demo", "y/demo"), ("x/demo", "y/demo"))],
)
def test_a_comparison_names_both_runs_so_that_they_are_told_apart(runs, names):
    found = compare(*map(two, runs))
    first, second = names
    page, text = comparison_html(found), comparison_markdown(found)
    assert f"<title>{second} beside {first}: two agents compared</title>" in page
    assert f"<h1>{second} beside {first}</h1>" in page
    assert text.startswith(f"# {second} (second) beside {first} (first)\n")
    assert f"<th>{first}</th><th>{second}</th>" in page


def test_nothing_is_said_of_what_the_run_never_had():
    alone = two("a")
    for shown in (report_html(alone, []).partition("</style>")[2], report_markdown(alone)):
        for never in ("Question", "picture", "Picture", "Text", "text:", "JAT", "Watch", "Videos",
                      "learned", "What failed", "What to know", "success", "Domains", "source",
                      "missing", "not trained", "ended", "Training", "none", "None"):  # fmt: skip
            assert never not in shown, never
    assert "references</td><td></td>" not in comparison_html(compare(alone, two("b")))


def trained(results, run, **changes):
    """Give results an agent with weights in a folder, as a training leaves them."""
    run.mkdir(exist_ok=True)
    (run / WEIGHTS).write_bytes(b"weights")
    agent = dataclasses.replace(
        results.agent, seconds=690.4, tokens=3_100_000, steps=912, max_steps=4000,
        max_seconds=690.0, ended="time", fingerprint=fingerprint(run / WEIGHTS),
        weights_date="2026-11-27T01:50:00+00:00", **changes,
    )  # fmt: skip
    return dataclasses.replace(results, run=run, agent=agent)


def test_budget_steps_and_end_are_said(results, tmp_path):
    results = trained(results, tmp_path / "mine")
    budget = "690 s of 690 s, 912 of 4,000 steps, 3.1 M tokens seen"
    page, text = report_html(results, []), report_markdown(results)
    assert f"Training: {budget}." in page and "It ended: the time was used up." in page
    assert f"- training: {budget}\n- ended: the time was used up\n" in text


def test_what_scores_stand_on_is_said_task_by_task():
    one, other = (two("a").tasks["walk"] for _ in range(2))
    tabled, played = "the table: 50 episodes", "played for this report: 3 episodes"
    tasks = {
        name: dataclasses.replace(
            one, name=name, reference=Reference(expert=10.0, random=0.0, measured=measured)
        )
        for name, measured in (("walk", tabled), ("run", played), ("hop", tabled))
    }
    unscored = dataclasses.replace(other, name="fall", reference=None)
    results = dataclasses.replace(two("a"), tasks={**tasks, "fall": unscored})
    assert reference_table(results).rows == [["walk, hop", tabled], ["run", played]]
    assert f"<td>walk, hop</td><td>{tabled}</td>" in report_html(results, [])
    assert f"| walk, hop | {tabled} |" in report_markdown(results)


def test_a_report_of_other_weights_than_the_runs_is_marked_stale(results, tmp_path):
    results = trained(results, tmp_path / "mine")
    known = hashlib.sha256(b"weights").hexdigest()[:12]
    beside = compare(results, trained(two("b"), tmp_path / "other"))
    for shown in (report_html(results, []), report_markdown(results)):
        assert f"sha256 {known} at step 912, written 2026-11-27T01:50:00+00:00" in shown
        assert "stale:" not in shown
    assert "stale:" not in comparison_html(beside) + comparison_markdown(beside)
    (tmp_path / "mine" / WEIGHTS).write_bytes(b"others")
    for shown in (report_html(results, []), report_markdown(results), comparison_html(beside),
                  comparison_markdown(beside)):  # fmt: skip
        assert shown.count("is stale:") == 1 and f"changed since: {known} were scored" in shown
    (tmp_path / "other" / WEIGHTS).unlink()
    assert "other: This report is stale: the weights are gone" in comparison_markdown(beside)


def rules(page):
    """Map the style sheet's selectors to what they declare, those of narrow pages left out."""
    style = page.partition("<style>")[2].partition("</style>")[0]
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL).partition("@media (max-width")[0]
    found = re.findall(r"([^{}]+)\{([^{}]*)\}", style)
    return {selector.strip(): " ".join(body.split()) for selector, body in found}


def test_the_page_fits_a_narrow_screen(results, tmp_path):
    metrics = [{"step": s, "loss": 1.0, "losses": {"a": 1.0}} for s in range(9)]
    page = report_html(trained(results, tmp_path / "mine"), metrics)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    boxed = re.findall(r'<div class="wide">\s*<table>', page)
    assert len(boxed) == page.count("<table>") > 3
    css = rules(page)
    assert "overflow-x: auto" in css[".wide"] and "width: 100%" in css[".curves .curve"]
    assert "width: 100%" in css[".videos video"] and "flex-wrap: wrap" in css[".legend"]
    # Charts take the page's width and leave letters as they are; no length is wider than 360 px.
    charts = re.findall(r'<svg class="chart[^>]*>', page)
    assert charts and all('width="100%"' in one and "viewBox" not in one for one in charts)
    widths = [int(px) for px in re.findall(r"min(?:-width: |max\()(\d+)px", " ".join(css.values()))]
    assert widths and max(widths) <= 360
