"""WikiText: good articles of Wikipedia as documents (Merity et al. 2016, CC BY-SA 3.0).

`wikitext-2` (600 training articles) and `wikitext-103` (28,475), raw, from `Salesforce/wikitext` on
the hub: the first time needs a network. The hub keeps a line of an article a row; here the rows
from one title (" = Title = ") to the next are one document. The splits hold out whole articles.
"""

from dataclasses import dataclass, field

import numpy as np

from mugato.data.formats.hub_place import locate
from mugato.data.formats.hub_rows import Rows, open_rows
from mugato.data.source import TEXT_SPEC, Source, check_split
from mugato.episode import Episode, text_leaf
from mugato.spec import Spec
from mugato.system.optional import require

SPLITS = ("train", "validation", "test")
# Sections have more signs: " = = History = = ".
TITLE = r"^ = [^=].* = \n?$"


@dataclass(frozen=True, kw_only=True)
class WikiText(Source):
    """Articles.

    Attributes:
        bounds: the row at which each article begins, and the end of the last.
    """

    name: str
    rows: Rows
    bounds: np.ndarray = field(repr=False)

    @property
    def spec(self) -> Spec:
        return TEXT_SPEC

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> Episode:
        name = f"{self.name} {self.rows.split}: article {index}"
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} articles, no article {index}")
        table = self.rows.table[int(self.bounds[index]) : int(self.bounds[index + 1])]
        lines = table["text"].to_pylist()
        if None in lines:
            raise ValueError(f"{name}: a line is missing")
        text = "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
        return Episode(observations={}, actions={"text": text_leaf(text)}, name=name)


def open_wikitext_2(
    split: str, *, where: str = "Salesforce/wikitext/wikitext-2-raw-v1"
) -> WikiText:
    """Open a split; `where` may be a copy on this machine. Raises as `open_rows`."""
    return _open("wikitext-2", split, where)


def open_wikitext_103(
    split: str, *, where: str = "Salesforce/wikitext/wikitext-103-raw-v1"
) -> WikiText:
    """Open a split; `where` may be a copy on this machine. Raises as `open_rows`."""
    return _open("wikitext-103", split, where)


def _open(name: str, split: str, where: str) -> WikiText:
    check_split(name, split, SPLITS)
    rows = open_rows(locate(where), split).of("text")
    compute = require("pyarrow.compute", extra="hf")
    is_title = compute.match_substring_regex(rows.table.data.column("text"), TITLE)
    titles = np.flatnonzero(is_title.to_numpy())
    if len(titles) == 0:
        raise ValueError(f"{name}: {where} {split} has no titles of the form ' = Title = '")
    # What stands before the first title belongs to it.
    bounds = np.concatenate([[0], titles[1:], [len(rows)]])
    return WikiText(name=name, rows=rows, bounds=bounds)
