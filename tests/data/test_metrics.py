"""Captions and answers: exact match by hand, overlap in its right order, beside a baseline."""

import math

import pytest

from mugato.data.metrics import (
    AnswerMetric,
    CaptionMetric,
    TextMetric,
    TypeScores,
    metric_of,
)
from mugato.data.sources.easy_vqa import QuestionType, open_easy_vqa
from mugato.data.sources.emoji import open_emoji
from mugato.data.sources.shakespeare import open_shakespeare
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS

NAMES = ["smiling cat with heart-eyes", "flag: Åland Islands", "red apple"]


def test_the_right_captions_score_all_there_is():
    found = CaptionMetric().score(NAMES, NAMES)
    assert found.exact_match == 1.0 and found.pictures == 3
    assert found.bleu == pytest.approx(100.0) and found.chrf == pytest.approx(100.0)
    assert found.signatures["bleu"].startswith("nrefs:1|case:lc")


def test_bleu_is_the_geometric_mean_of_precisions_times_brevity():
    """5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours are right; six words for seven."""
    found = CaptionMetric().score(["the cat sat on a big mat"], ["a cat sat on a mat"])
    precisions = math.exp(sum(map(math.log, (5 / 6, 3 / 5, 2 / 4, 1 / 3))) / 4)
    assert found.bleu == pytest.approx(100 * precisions * math.exp(1 - 7 / 6))
    assert found.exact_match == 0.0


def test_nearer_captions_score_more():
    near, far = (
        CaptionMetric().score(["red apple"], [text]) for text in ("green apple", "bus stop")
    )
    assert 100 > near.chrf > far.chrf >= 0


@pytest.mark.parametrize(("given", "expected"), [([], []), (["a"], ["a", "b"])])
def test_missing_captions_are_refused(given, expected):
    with pytest.raises(ValueError, match=f"{len(given)} captions given for {len(expected)}"):
        CaptionMetric().score(expected, given)


def test_right_answers_score_one_and_the_commonest_score_the_baseline():
    training, test = open_easy_vqa("train"), open_easy_vqa("test")
    metric = test.metric
    asked = [question[:2] for question in test.questions]
    common = metric.commonest(question[:2] for question in training.questions)
    right = metric.score(asked, [expected for _, expected in asked], commonest=common)
    assert right.accuracy == 1.0 and right.questions == 9673
    assert list(right.per_type) == [kind.value for kind in QuestionType]
    assert sum(row.questions for row in right.per_type.values()) == 9673
    lazy = metric.score(asked, [common[metric.type_of(q)] for q, _ in asked], commonest=common)
    assert lazy.accuracy == lazy.majority == pytest.approx(0.67, abs=0.01)
    for row in lazy.per_type.values():
        assert row.accuracy == row.majority <= row.own_majority


def test_scores_of_a_few_answers_by_hand():
    asked = [("what shape is present?", "circle"), ("what shape is present?", "triangle"),
             ("is a red shape present?", "no")]  # fmt: skip
    metric = open_easy_vqa("test").metric
    common = {QuestionType.SHAPE: "circle", QuestionType.HAS_COLOR: "no"}
    found = metric.score(asked, ["circle", "circle", "yes"], commonest=common)
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.per_type["what shape"].accuracy == 0.5
    assert found.per_type["what shape"].own_majority == 0.5
    assert found.per_type["is there a color"] == TypeScores(
        accuracy=0.0, questions=1, majority_answer="no", majority=1.0, own_majority=1.0
    )


def test_without_types_all_questions_are_of_one():
    metric = AnswerMetric()
    asked = [("what is it?", "dog"), ("who?", "cat"), ("why?", "dog")]
    assert metric.commonest(asked) == {"all questions": "dog"}
    found = metric.score(asked, ["dog", "dog", "dog"], commonest=metric.commonest(asked))
    assert found.accuracy == found.majority == pytest.approx(2 / 3)
    assert list(found.per_type) == ["all questions"]


def test_a_spec_says_how_its_texts_are_scored():
    assert isinstance(open_shakespeare("test").metric, TextMetric)
    assert isinstance(open_emoji("test").metric, CaptionMetric)
    assert isinstance(metric_of(open_easy_vqa("test").spec), AnswerMetric)
    env = TASKS["cartpole"].make_env()
    assert metric_of(spec_of(env.observation_space, env.action_space)) is None
