"""Pages and documents: what is said stands as it was said, markup and all."""

import dataclasses

import numpy as np
import pytest

from mugato.data.metrics import AnswerScores, CaptionScores, TypeScores
from mugato.evaluation.comparison import compare
from mugato.evaluation.language import AnswerResults, CaptionResults, Sample
from mugato.evaluation.text import Continuation, TextScores
from mugato.reports.render import comparison_html, report_html, report_markdown
from mugato.reports.tables import task_table
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
    assert page.count("<svg") == 4 and "How it learned" not in page


def test_the_document_says_the_same(results):
    text = report_markdown(results)
    assert "- **mean normalized score: 0.20** (95 % interval 0.10 to 0.30; 1 tasks;" in text
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
