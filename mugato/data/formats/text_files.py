"""Plain text files as documents: text without observations.

A file, a folder (all its .txt and .md files, also in folders within, not hidden ones) or a glob.
Every file is one document, or every paragraph is (`blank_lines`). Documents are dealt to the splits
by a hash of their own words, so that equal ones stand on the same side whatever file they are in.
Only places are kept in memory, not texts.
"""

import glob
import re
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

from mugato.data.language import TEXT_SPEC, LanguageSource, document
from mugato.data.source import check_split, split_by_hash
from mugato.episode import Episode

PERCENT = {"train": 90, "validation": 5, "test": 5}
SPLITS = ("all", *PERCENT)
SUFFIXES = (".txt", ".md")

MAX_NAMED = 3

_BLANK_LINES = re.compile(r"\n\s*\n")
# Paragraphs of one file are mostly asked for together.
NUM_CACHED_FILES = 8


def open_text(where: str, split: str = "train", *, blank_lines: bool = False) -> LanguageSource:
    """Open a split of text files; every document is one episode of one timestep.

    Args:
        where: a file, a folder or a glob ("books/**/*.txt").
        split: `all` documents, or `train` (90 %), `validation` (5 %) and `test` (5 %).
        blank_lines: cut files into paragraphs, each a document of its own.

    Raises:
        ValueError: no file, no document in this split, an empty file, or one that is no UTF-8.
    """
    name = f"{'paragraphs' if blank_lines else 'text'}:{where}"
    check_split(name, split, SPLITS)
    _documents.cache_clear()  # files may have changed since they were last opened
    files, remarks = _files(where, name)
    places = [
        (path, number)
        for path in files
        for number, text in enumerate(_documents(path, blank_lines))
        if split in ("all", split_by_hash(" ".join(text.split()).encode(), PERCENT))
    ]
    if not places:
        advice = "" if blank_lines else ", or cut files into paragraphs ('paragraphs:WHERE')"
        raise ValueError(f"{name}: no document falls to split {split!r}; take 'all'{advice}")
    read = partial(_read, name=f"{name} {split}", blank_lines=blank_lines)
    items = tuple(places)
    return LanguageSource(name=name, spec=TEXT_SPEC, items=items, read=read, remarks=remarks)


def open_paragraphs(where: str, split: str = "train") -> LanguageSource:
    """Open text files as `open_text` does, with blank lines between the documents of a file."""
    return open_text(where, split, blank_lines=True)


def visible_files(folder: Path) -> list[Path]:
    """Return all files in a folder and in those within, but for hidden ones, in order.

    Hidden are those whose name, or whose folder's, begins with a point: copies that editors and
    operating systems make.
    """

    def is_hidden(path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    return sorted(p for p in folder.rglob("*") if p.is_file() and not is_hidden(p))


def left_out(folder: Path, used: Iterable[Path]) -> tuple[str, ...]:
    """Return a remark that names the files of a folder that are not read, if there are any."""
    others = {path for path in folder.rglob("*") if path.is_file()} - {*used}
    names = sorted(path.relative_to(folder).as_posix() for path in others)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    what = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return (f"{what} not read: {', '.join(names[:MAX_NAMED])}{more}",) if names else ()


def read_text(path: Path) -> str:
    """Read a whole UTF-8 file, without the mark that some programs put first.

    Raises:
        ValueError: it is no UTF-8; names the file and the byte.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def _read(place: tuple[Path, int], *, name: str, blank_lines: bool) -> Episode:
    """Read a document by its file and its number in there."""
    path, number = place
    where = f"{path} paragraph {number}" if blank_lines else str(path)
    return document(_documents(path, blank_lines)[number], name=f"{name}: {where}")


def _files(where: str, name: str) -> tuple[list[Path], tuple[str, ...]]:
    """Return the files, and a remark on others in their folder."""
    folder = Path(where).expanduser()
    if folder.is_dir():
        found = visible_files(folder)
        files = [path for path in found if path.suffix.lower() in SUFFIXES]
        wanted, unused = " or ".join(SUFFIXES), left_out(folder, files)
    else:
        matching = map(Path, glob.glob(str(folder), recursive=True))
        files, wanted, unused = sorted(p for p in matching if p.is_file()), "such", ()
    if not files:
        raise ValueError(f"{name}: no {wanted} file there")
    return files, unused


@lru_cache(maxsize=NUM_CACHED_FILES)
def _documents(path: Path, blank_lines: bool) -> list[str]:
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path} is empty: every text file must hold a document")
    return _BLANK_LINES.split(text.strip()) if blank_lines else [text]
