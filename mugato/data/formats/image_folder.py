"""Folders of pictures with captions, as people and Hugging Face's `imagefolder` lay them out.

Captions stand in `metadata.jsonl` or `metadata.csv` (a column `file_name`, relative to that file,
and one with the caption), or each in a .txt beside its picture. Folders `train`, `validation` and
`test` are the splits; where there are none, pictures are dealt to them by a hash of their place, so
that all captions of a picture stand on the same side. Nothing is ever left out without a word.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mugato.data.formats.text_files import PERCENT, SPLITS, left_out, read_text, visible_files
from mugato.data.language import LanguageSource, caption_spec, captioned
from mugato.data.pictures import SUFFIXES, read_picture
from mugato.data.source import check_split, split_by_hash
from mugato.episode import Episode
from mugato.system.errors import one_line

METADATA = ("metadata.jsonl", "metadata.csv")
FILE_COLUMN = "file_name"
CAPTION_COLUMNS = ("text", "caption")


def open_images(
    where: str, split: str = "train", *, size_px: int = 64, caption: str | None = None
) -> LanguageSource:
    """Open a split of a folder of pictures; every caption is one episode of one timestep.

    Args:
        where: the folder.
        split: one of the folder's own splits, or `train` (90 %), `validation` (5 %) and `test`
            (5 %) of a folder without; `all` is everything.
        size_px: pictures are resized to squares of this side.
        caption: the column of the captions; `text`, `caption` or the only one where None.

    Raises:
        ValueError: no pictures, a picture without caption or a caption without picture, a column
            that is missing, an unknown split. Damaged pictures are named when they are asked for.
    """
    name, folder = f"images:{where}", Path(where).expanduser().resolve()
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")
    if not folder.is_dir():
        raise ValueError(f"{name}: there is no such folder")
    own = [part for part in PERCENT if (folder / part).is_dir()]
    check_split(name, split, ("all", *own) if own else SPLITS)
    entries, remarks = _entries(folder, caption)
    if not entries:
        raise ValueError(f"{name}: no pictures ({', '.join(SUFFIXES)}) in that folder")

    parts = [_split_of(path.relative_to(folder), own) for path, _ in entries]
    chosen = tuple(e for e, part in zip(entries, parts, strict=True) if split in ("all", part))
    if not chosen:
        raise ValueError(f"{name}: none of {len(entries)} captions fall to {split!r}; take 'all'")
    read = partial(_read, name=name, split=split, size_px=size_px)
    return LanguageSource(
        name=name, spec=caption_spec(size_px), items=chosen, read=read, remarks=remarks
    )


def _read(entry: tuple[Path, str], *, name: str, split: str, size_px: int) -> Episode:
    """Decode a picture and put its caption beside it."""
    path, caption = entry
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {path} cannot be read: {one_line(error)}") from error
    picture = read_picture(data, f"{name}: {path}", size_px=size_px)
    return captioned(picture, caption, name=f"{name} {split}: {path}")


def _split_of(place: Path, own: Sequence[str]) -> str:
    if not own:
        return split_by_hash(place.as_posix().encode(), PERCENT)
    if place.parts[0] not in own:
        raise ValueError(f"the picture {place} lies in none of the splits {', '.join(own)}")
    return place.parts[0]


def _entries(folder: Path, caption: str | None) -> tuple[list[tuple[Path, str]], tuple[str, ...]]:
    """Return all pictures with their captions in the order of the metadata or of their names.

    Beside them a remark on what else is in the folder.
    """
    found = visible_files(folder)
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    tables = [path for name in METADATA for path in found if path.name == name]
    if tables:
        entries = [entry for table in tables for entry in _captions(table, caption)]
        if bare := sorted(set(files) - {path for path, _ in entries}):
            raise ValueError(f"the picture {bare[0]} has no row in {' or '.join(map(str, tables))}")
        return entries, left_out(folder, [*files, *tables])
    texts = {p.with_suffix(""): p for p in found if p.suffix.lower() == ".txt"}
    entries = [(path, _beside(path, texts)) for path in files]
    if bare := sorted(set(texts) - {path.with_suffix("") for path in files}):
        raise ValueError(f"the caption {texts[bare[0]]} has no picture beside it")
    return entries, left_out(folder, [*files, *texts.values()])


def _beside(picture: Path, texts: Mapping[Path, Path]) -> str:
    path = texts.get(picture.with_suffix(""))
    if path is None:
        name = picture.with_suffix(".txt").name
        raise ValueError(
            f"the picture {picture} has no caption: put it into {name} beside it, or into a "
            f"{METADATA[0]} with {{{FILE_COLUMN!r}: ..., 'text': ...}} on each line"
        )
    caption = read_text(path).strip()
    if not caption:
        raise ValueError(f"the caption {path} is empty")
    return caption


def _captions(table: Path, column: str | None) -> Iterator[tuple[Path, str]]:
    for number, row in _rows(table):
        where = f"{table} line {number}"
        if FILE_COLUMN not in row:
            raise ValueError(f"{where}: no column {FILE_COLUMN!r}, only {', '.join(row)}")
        caption = row.get(column or _caption_column(row, where))
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(f"{where}: the caption must be text, got {caption!r}")
        picture = Path(os.path.normpath(table.parent / str(row[FILE_COLUMN])))
        if not picture.is_file():
            raise ValueError(f"{where}: there is no picture {row[FILE_COLUMN]!r}")
        yield picture, caption


def _caption_column(row: Mapping[str, Any], where: str) -> str:
    others = [column for column in row if column != FILE_COLUMN]
    known = [column for column in CAPTION_COLUMNS if column in others]
    if not known and len(others) != 1:
        raise ValueError(
            f"{where}: which column is the caption? There are {', '.join(others) or 'none'}; "
            f"name one (caption=...) or call it {CAPTION_COLUMNS[0]!r}"
        )
    return (known or others)[0]


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and rows of a .jsonl or .csv file."""
    lines = io.StringIO(read_text(table))
    if table.suffix == ".csv":
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                if None in row:
                    raise csv.Error("more cells than columns")
                yield reader.line_num, row
        except csv.Error as error:
            raise ValueError(f"{table} line {reader.line_num} is no CSV: {error}") from error
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{table} line {number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{table} line {number} is no JSON object: {line.strip()[:60]}")
        yield number, row
