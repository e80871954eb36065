"""easy-VQA: questions about one coloured shape (Victor Zhou, MIT licence).

The published set: 4,000 + 1,000 pictures, 38,575 + 9,673 questions, 13 answers. The test split is
the official one. The official training pictures are cut in two, the last 400 for tuning
(`validation`), so that nothing is ever chosen by looking at the test split. Always giving the
likeliest answer of each `QuestionType` is right for 67 % of the test questions, and for 88 % of
those about a color's presence: report accuracy per type, beside that baseline.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from mugato.data.language import answered, question_spec
from mugato.data.metrics import AnswerMetric
from mugato.data.pictures import read_picture
from mugato.data.source import Source, check_split
from mugato.episode import Episode
from mugato.spec import Spec
from mugato.system.optional import package_path

# Which pictures of the published folder (`train` for the first two) a split asks about.
PICTURES = {"train": range(3600), "validation": range(3600, 4000), "test": range(1000)}
SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
ANSWERS = (*SHAPES, *COLORS, "yes", "no")
# Of yes and no, in the split "by-type".
RARER_ANSWER = 0.4

Question = tuple[str, str, int]  # question, answer, number of the picture


class QuestionType(StrEnum):
    """What is asked. Yes or no is asked of a shape or a color, plainly or negated."""

    SHAPE = "what shape"  # what shape is present? what is the blue shape?
    COLOR = "what color"  # what color is the circle? what is the color of the shape?
    HAS_SHAPE = "is there a shape"  # is there a circle? does the image contain a circle?
    HAS_COLOR = "is there a color"  # is there a red shape? is a red shape present?
    LACKS_SHAPE = "is there not a shape"  # is no circle present?
    LACKS_COLOR = "is there not a color"  # does the image not contain a red shape?


@dataclass(frozen=True, kw_only=True)
class EasyVqa(Source):
    """A source of (picture, question) -> answer; a picture is decoded when it is first asked about.

    Attributes:
        folder: of the pictures.
        size_px: pictures are resized from 64 pixels as `read_picture` says.
    """

    name: str
    split: str
    questions: tuple[Question, ...] = field(repr=False)
    folder: Path
    size_px: int
    _pictures: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def spec(self) -> Spec:
        return question_spec(self.size_px)

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def lengths(self) -> tuple[int, ...]:
        return (1,) * len(self)

    def __getitem__(self, index: int) -> Episode:
        question, answer, number = self.questions[index]
        if number not in self._pictures:
            data = (self.folder / f"{number}.png").read_bytes()
            self._pictures[number] = read_picture(
                data, f"{self.name} picture {number}", size_px=self.size_px
            )
        name = f"{self.name} {self.split}: question {index}"
        return answered(self._pictures[number], question, answer, name=name)

    def question(self, index: int) -> tuple[str, str]:
        """Return an episode's question and answer, without reading its picture."""
        question, answer, _ = self.questions[index]
        return question, answer

    @property
    def metric(self) -> AnswerMetric:
        """Score each type of question by itself: half of them an agent may answer unseeing."""
        return AnswerMetric(types=tuple(QuestionType), type_of=question_type)


def open_easy_vqa(split: str, *, size_px: int = 64) -> EasyVqa:
    """Open a split; every question is one episode of one timestep.

    "by-type" is the train split with every type of question equally often, and of yes and no the
    rarer answer in two of five of a type's questions. As published half of the questions are
    whether a color is there, to which an agent that never looks is right in seven of eight.
    """
    check_split("easy-vqa", split, (*PICTURES, "by-type"))
    part = "train" if split == "by-type" else split
    folder = package_path("easy_vqa", "data") / ("test" if part == "test" else "train")
    entries = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    questions = tuple(tuple(entry) for entry in entries if entry[2] in PICTURES[part])
    return EasyVqa(
        name="easy-vqa",
        split=split,
        questions=_by_type(questions) if split == "by-type" else questions,
        folder=folder / "images",
        size_px=size_px,
    )


def _by_type(questions: Sequence[Question]) -> tuple[Question, ...]:
    """About as many questions as before: the rare ones repeated, of the common ones some left out.

    Were yes and no equally often right, "not" would tell nothing until the picture is understood.
    """
    groups: dict[QuestionType, dict[str, list[Question]]] = {}
    for entry in questions:
        groups.setdefault(question_type(entry[0]), {}).setdefault(entry[1], []).append(entry)
    per_type = len(questions) // len(groups)
    chosen: list[Question] = []
    for answers in groups.values():
        total = sum(map(len, answers.values()))
        shares = {answer: len(same) / total for answer, same in answers.items()}
        if set(answers) == {"yes", "no"}:
            rarer, commoner = sorted(answers, key=lambda answer: shares[answer])
            shares = {rarer: RARER_ANSWER, commoner: 1 - RARER_ANSWER}
        for answer, same in answers.items():
            # The order is that of the pictures: repeat or leave out evenly.
            count = round(shares[answer] * per_type)
            chosen += [same[i * len(same) // count] for i in range(count)]
    return tuple(chosen)


def question_type(question: str) -> QuestionType:
    """Tell from its words what is asked.

    >>> question_type("is no teal shape present?")
    <QuestionType.LACKS_COLOR: 'is there not a color'>
    >>> question_type("what is the color of the circle?").value
    'what color'
    """
    words = re.findall(r"[a-z]+", question.lower())
    if words[:1] == ["what"]:
        return QuestionType.COLOR if "color" in words else QuestionType.SHAPE
    names_color, names_shape = not set(COLORS).isdisjoint(words), not set(SHAPES).isdisjoint(words)
    if words[:1] not in (["is"], ["does"]) or names_color == names_shape:
        raise ValueError(f"not a question of easy-vqa: {question!r}")
    if "not" in words or "no" in words:
        return QuestionType.LACKS_COLOR if names_color else QuestionType.LACKS_SHAPE
    return QuestionType.HAS_COLOR if names_color else QuestionType.HAS_SHAPE
