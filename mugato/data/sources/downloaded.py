"""WikiText, A-OKVQA and OK-VQA, from the hub; `where` may name a copy on this machine.

`wikitext-2` (600 training articles) and `wikitext-103` (28,475): good articles of Wikipedia as
documents, raw (Merity et al. 2016, CC BY-SA 3.0), from `Salesforce/wikitext`. The hub keeps a line
of an article a row; here the rows from one title (" = Title = ") to the next are one document. The
splits hold out whole articles.

`a-okvqa` (Schwenk et al. 2022): 17,056 training and 1,145 validation questions about photographs
that need knowledge; the right one of four choices is the answer, and the test split's are secret.
From `HuggingFaceM4/A-OKVQA`. `ok-vqa` (Marino et al. 2019): 9,009 training questions, 5,046 in
`test`, which is the official validation split; one person's answer. JAT's copy, because the hub's
other ones are scripts or lack the training split. Pictures are COCO's.

The first time needs a network.
"""

from functools import partial

import numpy as np

from mugato.data.formats.hub import question_source
from mugato.data.formats.hub_rows import Rows, open_rows
from mugato.data.language import TEXT_SPEC, LanguageSource, document
from mugato.data.source import check_split
from mugato.episode import Episode
from mugato.system.optional import require

# Sections have more signs: " = = History = = ".
TITLE = r"^ = [^=].* = \n?$"
A_OKVQA = {
    "image": "image", "question": "question", "answer": "choices", "choice": "correct_choice_idx",
}  # fmt: skip
OK_VQA = {"image": "images", "text": "text"}
# Where each lies on the hub, its splits and its columns.
QUESTIONS = {
    "a-okvqa": ("HuggingFaceM4/A-OKVQA", ("train", "validation"), A_OKVQA),
    "ok-vqa": ("jat-project/jat-dataset/ok-vqa", ("train", "test"), OK_VQA),
}


def open_wikitext(millions: int, split: str, *, where: str | None = None) -> LanguageSource:
    """Open a split of the one of so many million words. Raises as `open_rows`."""
    name = f"wikitext-{millions}"
    where = where or f"Salesforce/wikitext/{name}-raw-v1"
    check_split(name, split, ("train", "validation", "test"))
    rows = open_rows(where, split).of("text")
    compute = require("pyarrow.compute", extra="hf")
    is_title = compute.match_substring_regex(rows.table.data.column("text"), TITLE)
    titles = np.flatnonzero(is_title.to_numpy())
    if len(titles) == 0:
        raise ValueError(f"{name}: {where} {split} has no titles of the form ' = Title = '")
    # What stands before the first title belongs to it.
    bounds = np.concatenate([[0], titles[1:], [len(rows)]])
    read = partial(_article, rows=rows, bounds=bounds, name=f"{name} {split}")
    return LanguageSource(name=name, spec=TEXT_SPEC, items=range(len(titles)), read=read)


def open_questions(
    name: str,
    split: str,
    *,
    where: str | None = None,
    size_px: int = 128,
    rows: int | None = None,
) -> LanguageSource:
    """Open a split of one of `QUESTIONS`. Raises as `open_rows`."""
    place, splits, columns = QUESTIONS[name]
    check_split(name, split, splits)
    opened = open_rows(where or place, split, rows=rows)
    return question_source(name, opened, columns, size_px)


def _article(index: int, *, rows: Rows, bounds: np.ndarray, name: str) -> Episode:
    """Join the lines from the row at which an article begins to that of the next."""
    name = f"{name}: article {index}"
    lines = rows.table[int(bounds[index]) : int(bounds[index + 1])]["text"].to_pylist()
    if None in lines:
        raise ValueError(f"{name}: a line is missing")
    text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
    return document(text, name=name)
