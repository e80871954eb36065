"""Text, captioned pictures and questions from Hugging Face `datasets`: `hf-text:WHERE` and so on.

WHERE is a file, a folder, or `namespace/name[/config]` on the hub (`hub_place`). A row of text is a
document: an action without observation, as in `shakespeare`. A captioned picture is seen and its
caption is the action, as in `emoji`; a picture and a question are seen and the answer is the
action, as in `easy_vqa`. Pictures are brought to a square as `pictures` says. Columns are found by
their usual names or named as options. The splits are the data set's own.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mugato.data.formats.hub_place import locate
from mugato.data.formats.hub_rows import Rows, decode_image, open_rows, read_image
from mugato.data.pictures import picture_leaf, read_picture
from mugato.data.source import TEXT_SPEC, Source
from mugato.episode import Episode, text_leaf
from mugato.spec import TEXT_LEAF, Spec

TEXT_COLUMNS = ("text", "content", "document")
IMAGE_COLUMNS = ("image", "images", "jpg", "png")
CAPTION_COLUMNS = ("caption", "captions", "text", "txt", "sentences")
QUESTION_COLUMNS = ("question", "questions")
ANSWER_COLUMNS = ("answer", "answers", "multiple_choice_answer", "label")


@dataclass(frozen=True, kw_only=True)
class HubText(Source):
    """Documents, one a row; an empty row is an empty document.

    Attributes:
        column: that holds the text, the only one of `rows`.
    """

    name: str
    rows: Rows
    column: str

    @property
    def spec(self) -> Spec:
        return TEXT_SPEC

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Episode:
        values = self.rows.values(index)
        return Episode(
            observations={},
            actions={"text": text_leaf(self.rows.text(values, index, self.column))},
            name=_episode_name(self.rows, index),
        )


@dataclass(frozen=True, kw_only=True)
class _Pictured(Source):
    """One picture a row: an episode of one timestep."""

    name: str
    rows: Rows
    size_px: int

    @property
    def lengths(self) -> np.ndarray:
        """One timestep each, which takes no memory and no reading."""
        return np.broadcast_to(np.int64(1), (len(self),))

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, values: dict[str, Any], index: int, column: str) -> np.ndarray:
        """A row's picture as a square, (1, size_px, size_px, 3) uint8.

        Raises:
            ValueError: for a missing or damaged picture, naming row and column.
        """
        data = read_image(self.rows, values[column], index, column)
        decode_image(data, self.rows.where(index, column))
        return read_picture(data, size_px=self.size_px)[None]


@dataclass(frozen=True, kw_only=True)
class HubCaptions(_Pictured):
    """Pictures with captions, one a row; of several captions the first."""

    image: str
    caption: str

    @property
    def spec(self) -> Spec:
        return Spec(
            observation={"image": picture_leaf(self.size_px)},
            action={"caption": TEXT_LEAF},
        )

    def __getitem__(self, index: int) -> Episode:
        values = self.rows.values(index)
        if isinstance(values[self.caption], list):
            values[self.caption] = next(iter(values[self.caption]), None)
        caption = self.rows.text(values, index, self.caption)
        return Episode(
            observations={"image": self.picture(values, index, self.image)},
            actions={"caption": text_leaf(caption)},
            name=_episode_name(self.rows, index),
        )


@dataclass(frozen=True, kw_only=True)
class QuestionColumns:
    """Where a data set keeps questions and answers.

    Attributes:
        image, question, answer: columns; of several people's answers the commonest is taken.
        choice: a column with the index of the right answer, where the answers are choices.
        text: instead of `question` and `answer` one column, "Q: ... A: ...".
    """

    image: str
    question: str = ""
    answer: str = ""
    choice: str = ""
    text: str = ""

    @property
    def names(self) -> list[str]:
        columns = (self.image, self.question, self.answer, self.choice, self.text)
        return [column for column in columns if column]


@dataclass(frozen=True, kw_only=True)
class HubQuestions(_Pictured):
    """Questions about pictures, one a row."""

    columns: QuestionColumns

    @property
    def spec(self) -> Spec:
        return Spec(
            observation={"image": picture_leaf(self.size_px), "question": TEXT_LEAF},
            action={"answer": TEXT_LEAF},
        )

    def __getitem__(self, index: int) -> Episode:
        values = self.rows.values(index)
        question, answer = self._texts(values, index)
        picture = self.picture(values, index, self.columns.image)
        return Episode(
            observations={"image": picture, "question": text_leaf(question)},
            actions={"answer": text_leaf(answer)},
            name=_episode_name(self.rows, index),
        )

    def _texts(self, values: dict[str, Any], index: int) -> tuple[str, str]:
        columns, text = self.columns, partial(self.rows.text, values, index)
        if columns.text:
            return split_question(text(columns.text), self.rows.where(index, columns.text))
        answers = values[columns.answer]
        if columns.choice:
            right, many = values[columns.choice], len(answers or ())
            if not isinstance(right, int) or not 0 <= right < many:
                where = self.rows.where(index, columns.choice)
                raise ValueError(f"{where} is {right!r}: none of {many} choices")
            values[columns.answer] = answers[right]
        elif isinstance(answers, list):
            values[columns.answer] = commonest(answers)
        return text(columns.question), text(columns.answer)


def open_hub_text(
    where: str, split: str, *, column: str | None = None, rows: int | None = None
) -> HubText:
    """Open documents. Raises as `open_rows`, and for a missing or ambiguous column."""
    opened = open_rows(locate(where), split, rows=rows)
    column = column or find_column(opened, TEXT_COLUMNS, "column")
    return HubText(name=f"hf-text:{where}", rows=opened.of(column), column=column)


def open_hub_captions(
    where: str,
    split: str,
    *,
    image: str | None = None,
    caption: str | None = None,
    size_px: int = 128,
    rows: int | None = None,
) -> HubCaptions:
    """Open captioned pictures. Raises as `open_hub_text`."""
    opened = open_rows(locate(where), split, rows=rows)
    image = image or find_column(opened, IMAGE_COLUMNS, "image")
    caption = caption or find_column(opened, CAPTION_COLUMNS, "caption")
    return HubCaptions(
        name=f"hf-captions:{where}",
        rows=opened.of(image, caption),
        image=image,
        caption=caption,
        size_px=size_px,
    )


def open_hub_questions(
    where: str,
    split: str,
    *,
    image: str | None = None,
    question: str | None = None,
    answer: str | None = None,
    choice: str = "",
    size_px: int = 128,
    rows: int | None = None,
) -> HubQuestions:
    """Open questions about pictures; `choice` as in `QuestionColumns`.

    Raises as `open_hub_text`.
    """
    opened = open_rows(locate(where), split, rows=rows)
    columns = QuestionColumns(
        image=image or find_column(opened, IMAGE_COLUMNS, "image"),
        question=question or find_column(opened, QUESTION_COLUMNS, "question"),
        answer=answer or find_column(opened, ANSWER_COLUMNS, "answer"),
        choice=choice,
    )
    return HubQuestions(
        name=f"hf-questions:{where}",
        rows=opened.of(*columns.names),
        columns=columns,
        size_px=size_px,
    )


def split_question(text: str, where: str) -> tuple[str, str]:
    """Take question and answer apart.

    >>> split_question("Q: What is it? A: a dog", "row 0")
    ('What is it?', 'a dog')
    """
    match = re.fullmatch(r"Q: (.*) A: (.*)", text, flags=re.DOTALL)
    if match is None:
        raise ValueError(f"{where} is not of the form 'Q: ... A: ...': {text[:60]!r}")
    return match[1], match[2]


def find_column(rows: Rows, usual: Sequence[str], option: str) -> str:
    """The first of the usual names that the data set has.

    Raises:
        ValueError: if it has none, listing its columns.
    """
    for name in usual:
        if name in rows.columns:
            return name
    raise ValueError(
        f"{rows.name} {rows.split} has none of the columns {', '.join(usual)}; it has "
        f"{', '.join(rows.columns)}: name one with {option}="
    )


def commonest(answers: Sequence[str]) -> str | None:
    """The answer that most people gave, the first of those that equally many gave.

    >>> commonest(["ski", "snow", "snow"]), commonest(["a", "b"])
    ('snow', 'a')
    """
    return Counter(answers).most_common(1)[0][0] if answers else None


def _episode_name(rows: Rows, index: int) -> str:
    return f"{rows.name} {rows.split} row {index}"
