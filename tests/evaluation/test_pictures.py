"""Questions and captions: whole strings compared, per type, beside the commonest answer."""

import numpy as np
import pytest

from mugato.data.sources.easy_vqa import open_easy_vqa
from mugato.data.sources.emoji import open_emoji
from mugato.evaluation import pictures
from mugato.evaluation.pictures import evaluate_captions, evaluate_questions, score_answers
from tests.agents import tiny_agent


@pytest.fixture(scope="module")
def agent():
    specs = {"easy-vqa": open_easy_vqa("test").spec, "emoji": open_emoji("test").spec}
    return tiny_agent(specs)


def test_right_answers_score_one_and_the_commonest_score_the_baseline():
    training, test = open_easy_vqa("train"), open_easy_vqa("test")
    asked = [question[:2] for question in test.questions]
    right = score_answers(asked, [expected for _, expected in asked], training)
    assert right["accuracy"] == 1.0
    assert set(right["per_type"]) == {kind.value for kind in pictures.QuestionType}
    assert sum(row["questions"] for row in right["per_type"].values()) == 9673
    common = pictures.commonest_answers(training)
    lazy = score_answers(asked, [common[pictures.question_type(q)] for q, _ in asked], training)
    assert lazy["accuracy"] == lazy["majority"] == pytest.approx(0.67, abs=0.01)
    for row in lazy["per_type"].values():
        assert row["accuracy"] == row["majority"] <= row["own_majority"]


def test_scores_of_a_few_answers_by_hand():
    asked = [("what shape is present?", "circle"), ("what shape is present?", "triangle"),
             ("is a red shape present?", "no")]  # fmt: skip
    found = score_answers(asked, ["circle", "circle", "yes"], open_easy_vqa("train"))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["per_type"]["what shape"]["accuracy"] == 0.5
    assert found["per_type"]["what shape"]["own_majority"] == 0.5
    assert found["per_type"]["is there a color"] == {
        "accuracy": 0.0, "questions": 1, "majority_answer": "no", "majority": 1.0,
        "own_majority": 1.0,
    }  # fmt: skip


def test_batches_answer_as_single_questions_do(agent, monkeypatch):
    test = open_easy_vqa("test")
    monkeypatch.setattr(pictures, "ROWS", 4)
    together = evaluate_questions(agent, max_questions=10)
    monkeypatch.setattr(pictures, "ROWS", 1)
    alone = evaluate_questions(agent, max_questions=10)
    assert together.scores == alone.scores
    assert [s.given for s in together.samples] == [s.given for s in alone.samples]
    assert {s.expected for s in alone.samples} <= {answer for _, answer, _ in test.questions}


def test_captions_of_seen_and_unseen_pictures_are_apart(agent):
    seen = []
    found = evaluate_captions(agent, max_pictures=6, progress=lambda *now: seen.append(now))
    for part in (found.scores, found.scores["held_out"]):
        assert part["pictures"] == 6 and part["exact_match"] == 0.0
        assert 0 <= part["chrf"] < 50
    assert seen[-1] == (12, 12)
    held_out = [s for s in found.samples if s.label == "never seen"]
    names = {str(e.actions["caption"][0]) for e in open_emoji("test").episodes}
    assert held_out and all(sample.expected in names for sample in held_out)
    assert all(sample.image.dtype == np.uint8 for sample in found.samples)
