"""All data by name: sources that install with pip, and readers of formats that users bring.

To add a source: one file here and one line in `SOURCES`; to add a format: the same in `READERS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mugato.data.easy_vqa import open_easy_vqa
from mugato.data.emoji import open_emoji
from mugato.data.factbook import open_factbook
from mugato.data.image_folder import open_images
from mugato.data.lerobot import open_lerobot
from mugato.data.minari_source import open_minari
from mugato.data.shakespeare import open_shakespeare
from mugato.data.source import Source
from mugato.data.text_files import open_paragraphs, open_text

# Called as opener(split, **options).
SOURCES: Mapping[str, Callable[..., Source]] = {
    "shakespeare": open_shakespeare,
    "factbook": open_factbook,
    "emoji": open_emoji,
    "easy-vqa": open_easy_vqa,
}

# "format:where" is opened as READERS[format](where, split, **options).
READERS: Mapping[str, Callable[..., Source]] = {
    "minari": open_minari,
    "lerobot": open_lerobot,
    "text": open_text,
    "paragraphs": open_paragraphs,
    "images": open_images,
}


def open_source(name: str, split: str, **options: Any) -> Source:
    """Open a split of a named source, or of data in a known format ("minari:my/data-v0").

    Options (`size_px`) go to the opener.

    >>> open_source("shakespear", "train")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: no source 'shakespear'; there are shakespeare, ...; or minari:WHERE, ...
    """
    kind, colon, where = name.partition(":")
    if colon and kind in READERS:
        return READERS[kind](where, split, **options)
    if name not in SOURCES:
        formats = ", ".join(f"{kind}:WHERE" for kind in READERS)
        raise ValueError(f"no source {name!r}; there are {', '.join(SOURCES)}; or {formats}")
    return SOURCES[name](split, **options)
