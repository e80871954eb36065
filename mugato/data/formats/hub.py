"""Text, captioned pictures and questions from Hugging Face `datasets`: `hf-text:WHERE` and so on.

WHERE is a file, a folder, or `namespace/name[/config]` on the hub (`hub_rows`). A row is one
episode of one timestep (`language`). Columns are found by their usual names or named as options.
The splits are the data set's own.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, Unpack

from mugato.data.formats.hub_rows import Row, Rows, open_rows
from mugato.data.language import (
    TEXT_SPEC,
    LanguageSource,
    answered,
    caption_spec,
    captioned,
    document,
    question_spec,
)
from mugato.episode import Episode

# The usual names of the columns, by what they hold.
TEXT_COLUMNS = ("text", "content", "document")
IMAGE_COLUMNS = ("image", "images", "jpg", "png")
CAPTION_COLUMNS = ("caption", "captions", "text", "txt", "sentences")
QUESTION_COLUMNS = ("question", "questions")
ANSWER_COLUMNS = ("answer", "answers", "multiple_choice_answer", "label")


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


class ChosenColumns(TypedDict, total=False):
    """Columns that `open_hub_questions` need not look for, as in `QuestionColumns`."""

    image: str
    question: str
    answer: str
    choice: str


def open_hub_text(
    where: str, split: str, *, column: str | None = None, rows: int | None = None
) -> LanguageSource:
    """Open documents. Raises as `open_rows`, and for a missing or ambiguous column."""
    opened = open_rows(where, split, rows=rows)
    column = column or find_column(opened, TEXT_COLUMNS, "column")
    return text_source(f"hf-text:{where}", opened, column)


def open_hub_captions(
    where: str,
    split: str,
    *,
    image: str | None = None,
    caption: str | None = None,
    size_px: int = 128,
    rows: int | None = None,
) -> LanguageSource:
    """Open captioned pictures; of several captions the first. Raises as `open_hub_text`."""
    opened = open_rows(where, split, rows=rows)
    image = image or find_column(opened, IMAGE_COLUMNS, "image")
    caption = caption or find_column(opened, CAPTION_COLUMNS, "caption")
    return caption_source(f"hf-captions:{where}", opened, image, caption, size_px)


def open_hub_questions(
    where: str,
    split: str,
    *,
    size_px: int = 128,
    rows: int | None = None,
    **columns: Unpack[ChosenColumns],
) -> LanguageSource:
    """Open questions about pictures. Raises as `open_hub_text`."""
    opened = open_rows(where, split, rows=rows)
    found = QuestionColumns(
        image=columns.get("image") or find_column(opened, IMAGE_COLUMNS, "image"),
        question=columns.get("question") or find_column(opened, QUESTION_COLUMNS, "question"),
        answer=columns.get("answer") or find_column(opened, ANSWER_COLUMNS, "answer"),
        choice=columns.get("choice", ""),
    )
    return question_source(f"hf-questions:{where}", opened, found, size_px)


def text_source(name: str, rows: Rows, column: str) -> LanguageSource:
    """Make a source of documents, one a row; an empty row is an empty document."""
    read = partial(_document, column=column)
    return LanguageSource(name=name, spec=TEXT_SPEC, items=rows.of(column), read=read)


def caption_source(name: str, rows: Rows, image: str, caption: str, size_px: int) -> LanguageSource:
    """Make a source of captioned pictures, one a row, from two columns."""
    return LanguageSource(
        name=name,
        spec=caption_spec(size_px),
        items=rows.of(image, caption),
        read=partial(_captioned, image=image, caption=caption, size_px=size_px),
    )


def question_source(
    name: str, rows: Rows, columns: QuestionColumns, size_px: int
) -> LanguageSource:
    """Make a source of questions about pictures, one a row."""
    return LanguageSource(
        name=name,
        spec=question_spec(size_px),
        items=rows.of(*filter(None, vars(columns).values())),
        read=partial(_answered, columns=columns, size_px=size_px),
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
    """Return the first of the usual names that the data set has.

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
    """Return the answer that most people gave, the first of those that equally many gave.

    >>> commonest(["ski", "snow", "snow"]), commonest(["a", "b"])
    ('snow', 'a')
    """
    return Counter(answers).most_common(1)[0][0] if answers else None


def _document(row: Row, *, column: str) -> Episode:
    return document(row.text(column), name=row.name)


def _captioned(row: Row, *, image: str, caption: str, size_px: int) -> Episode:
    text = row.text(caption, pick=lambda captions: next(iter(captions), None))
    return captioned(row.picture(image, size_px=size_px), text, name=row.name)


def _answered(row: Row, *, columns: QuestionColumns, size_px: int) -> Episode:
    if columns.text:
        question, answer = split_question(row.text(columns.text), row.where(columns.text))
    else:
        pick = _right_choice(row, columns) if columns.choice else commonest
        question, answer = row.text(columns.question), row.text(columns.answer, pick=pick)
    picture = row.picture(columns.image, size_px=size_px)
    return answered(picture, question, answer, name=row.name)


def _right_choice(row: Row, columns: QuestionColumns) -> Callable[[list], str]:
    right, choices = row.values[columns.choice], row.values[columns.answer] or ()
    if not isinstance(right, int) or not 0 <= right < len(choices):
        raise ValueError(
            f"{row.where(columns.choice)} is {right!r}: none of {len(choices)} choices"
        )
    return lambda choices: choices[right]
