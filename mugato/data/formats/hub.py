"""Text, captioned pictures and questions from Hugging Face `datasets`: `hf-text:WHERE` and so on.

WHERE is a file, a folder, or `namespace/name[/config]` on the hub (`hub_rows`). A row is one
episode of one timestep (`language`). Columns are found by their usual names or named as options.
The splits are the data set's own.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
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

# The usual names of the column that each option names.
USUAL_COLUMNS = {
    "column": ("text", "content", "document"),
    "image": ("image", "images", "jpg", "png"),
    "caption": ("caption", "captions", "text", "txt", "sentences"),
    "question": ("question", "questions"),
    "answer": ("answer", "answers", "multiple_choice_answer", "label"),
}


class QuestionColumns(TypedDict, total=False):
    """Where a data set keeps questions and answers.

    Attributes:
        image, question, answer: columns; of several people's answers the commonest is taken.
        choice: a column with the index of the right answer, where the answers are choices.
        text: instead of `question` and `answer` one column, "Q: ... A: ...".
    """

    image: str
    question: str
    answer: str
    choice: str
    text: str


def open_hub_text(
    where: str, split: str, *, column: str | None = None, rows: int | None = None
) -> LanguageSource:
    """Open documents. Raises as `open_rows`, and for a missing or ambiguous column."""
    opened = open_rows(where, split, rows=rows)
    return text_source(f"hf-text:{where}", opened, _find(opened, "column", column))


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
    image, caption = _find(opened, "image", image), _find(opened, "caption", caption)
    return caption_source(f"hf-captions:{where}", opened, image, caption, size_px)


def open_hub_questions(
    where: str,
    split: str,
    *,
    size_px: int = 128,
    rows: int | None = None,
    **columns: Unpack[QuestionColumns],
) -> LanguageSource:
    """Open questions about pictures. Raises as `open_hub_text`."""
    opened = open_rows(where, split, rows=rows)
    found = {option: str(column) for option, column in columns.items() if column}
    for option in ("image",) if "text" in found else ("image", "question", "answer"):
        found[option] = _find(opened, option, found.get(option))
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
    name: str, rows: Rows, columns: Mapping[str, str], size_px: int
) -> LanguageSource:
    """Make a source of questions about pictures, one a row; columns as in `QuestionColumns`."""
    return LanguageSource(
        name=name,
        spec=question_spec(size_px),
        items=rows.of(*columns.values()),
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


def commonest(answers: Sequence[str]) -> str | None:
    """Return the answer that most people gave, the first of those that equally many gave.

    >>> commonest(["ski", "snow", "snow"]), commonest(["a", "b"])
    ('snow', 'a')
    """
    return Counter(answers).most_common(1)[0][0] if answers else None


def _find(rows: Rows, option: str, named: str | None) -> str:
    """Return the column that an option names, or the first of the usual names that is there."""
    usual = USUAL_COLUMNS[option]
    if found := named or next((column for column in usual if column in rows.columns), None):
        return found
    raise ValueError(
        f"{rows.name} {rows.split} has none of the columns {', '.join(usual)}; it has "
        f"{', '.join(rows.columns)}: name one with {option}="
    )


def _document(row: Row, *, column: str) -> Episode:
    return document(row.text(column), name=row.name)


def _captioned(row: Row, *, image: str, caption: str, size_px: int) -> Episode:
    text = row.text(caption, pick=lambda captions: next(iter(captions), None))
    return captioned(row.picture(image, size_px=size_px), text, name=row.name)


def _answered(row: Row, *, columns: Mapping[str, str], size_px: int) -> Episode:
    if column := columns.get("text"):
        question, answer = split_question(row.text(column), row.where(column))
    else:
        pick = commonest
        if choice := columns.get("choice"):
            right, choices = row.values[choice], row.values[columns["answer"]] or ()
            if not isinstance(right, int) or not 0 <= right < len(choices):
                where = row.where(choice)
                raise ValueError(f"{where} is {right!r}: none of {len(choices)} choices")
            pick = itemgetter(right)
        question, answer = row.text(columns["question"]), row.text(columns["answer"], pick)
    picture = row.picture(columns["image"], size_px=size_px)
    return answered(picture, question, answer, name=row.name)
