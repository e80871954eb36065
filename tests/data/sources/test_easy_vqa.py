"""easy-VQA: the published counts, the official test split, and what each question asks."""

import pickle
from collections import Counter

import numpy as np
import pytest

from mugato.data.sources.easy_vqa import (
    ANSWERS,
    COLORS,
    PICTURES,
    SHAPES,
    EasyVqa,
    QuestionType,
    open_easy_vqa,
    question_type,
)


@pytest.fixture(scope="module")
def splits() -> dict[str, EasyVqa]:
    return {split: open_easy_vqa(split) for split in PICTURES}


def test_published_counts(splits: dict[str, EasyVqa]):
    assert len(splits["train"]) + len(splits["validation"]) == 38_575
    assert len(splits["test"]) == 9_673
    yes_no = [answer in ("yes", "no") for _, answer, _ in splits["test"].questions]
    assert sum(yes_no) == 7_136
    answers = {answer for source in splits.values() for _, answer, _ in source.questions}
    assert answers == set(ANSWERS) and len(ANSWERS) == 13


def test_tuning_asks_about_other_pictures_than_training(splits: dict[str, EasyVqa]):
    asked = {
        split: {picture for *_, picture in source.questions} for split, source in splits.items()
    }
    assert asked["train"] == set(range(3600))
    assert asked["validation"] == set(range(3600, 4000))
    assert asked["test"] == set(range(1000))
    assert splits["test"].folder != splits["train"].folder == splits["validation"].folder


def test_every_question_has_a_type_that_fits_its_answer(splits: dict[str, EasyVqa]):
    fitting = {QuestionType.SHAPE: set(SHAPES), QuestionType.COLOR: set(COLORS)}
    for source in splits.values():
        types = [question_type(question) for question, _, _ in source.questions]
        assert set(types) == set(QuestionType)
        for kind, (_, answer, _) in zip(types, source.questions, strict=True):
            assert answer in fitting.get(kind, {"yes", "no"})


def test_negated_questions_have_the_opposite_answer(splits: dict[str, EasyVqa]):
    """Of one picture, "is there a circle?" and "is there not a circle?" never agree."""
    pairs = Counter()
    facts: dict[tuple[int, str], set[str]] = {}
    for question, answer, picture in splits["train"].questions:
        named = next((word for word in (*COLORS, *SHAPES) if word in question), None)
        kind = question_type(question)
        if kind in (QuestionType.SHAPE, QuestionType.COLOR):
            continue
        negated = kind in (QuestionType.LACKS_SHAPE, QuestionType.LACKS_COLOR)
        facts.setdefault((picture, named), set()).add(
            {"yes": "no", "no": "yes"}[answer] if negated else answer
        )
        pairs[negated] += 1
    assert pairs[True] > 5000 and pairs[False] > 5000
    assert all(len(answers) == 1 for answers in facts.values())


@pytest.mark.parametrize(
    "question", ["", "who is it?", "is there a shape?", "is a red circle here?"]
)
def test_foreign_questions_are_refused(question: str):
    with pytest.raises(ValueError, match="not a question of easy-vqa"):
        question_type(question)


def test_pictures_show_what_is_asked(splits: dict[str, EasyVqa]):
    source = splits["test"]
    asked = ("what color is the circle?", "red")
    index = next(i for i, question in enumerate(source.questions) if question[:2] == asked)
    image = source[index].observations["image"][0].astype(int)
    assert image.shape == (64, 64, 3)
    assert ((image[..., 0] - image[..., 1:].max(axis=-1)) > 80).any()


def test_a_picture_is_decoded_once():
    source = open_easy_vqa("validation")
    first, second = source.questions[0][2], source.questions[1][2]
    assert first == second
    a, b = source[0].observations["image"], source[1].observations["image"]
    assert np.shares_memory(a, b)


def test_other_sizes_and_processes():
    source = pickle.loads(pickle.dumps(open_easy_vqa("test", size_px=32)))
    assert source[0].observations["image"].shape == (1, 32, 32, 3)


def test_training_by_type_asks_every_type_equally_often_and_the_rarer_answer_in_two_of_five():
    source = open_easy_vqa("by-type")
    counts = Counter((question_type(q), a) for q, a, _ in source.questions)
    totals = Counter(kind for kind, _ in counts.elements())
    assert max(totals.values()) - min(totals.values()) < 5
    for kind in QuestionType:
        if kind.name.startswith(("HAS", "LACKS")):
            rarer = min(counts[kind, "yes"], counts[kind, "no"])
            assert rarer / totals[kind] == pytest.approx(0.4, abs=0.01)
    assert {n for *_, n in source.questions} <= set(PICTURES["train"])
