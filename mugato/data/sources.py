"""All data by name: sources that install with pip, some from the hub, readers of users' formats.

To add a source: one file here and one line in `SOURCES`; to add a format: the same in `READERS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mugato.data.easy_vqa import open_easy_vqa
from mugato.data.emoji import open_emoji
from mugato.data.factbook import open_factbook
from mugato.data.huggingface import open_hub_captions, open_hub_questions, open_hub_text
from mugato.data.image_folder import open_images
from mugato.data.jat import open_jat
from mugato.data.lerobot import open_lerobot
from mugato.data.minari_source import open_minari
from mugato.data.okvqa import open_a_okvqa, open_ok_vqa
from mugato.data.shakespeare import open_shakespeare
from mugato.data.source import Source
from mugato.data.text_files import open_paragraphs, open_text
from mugato.data.wikitext import open_wikitext_2, open_wikitext_103

# Called as opener(split, **options).
SOURCES: Mapping[str, Callable[..., Source]] = {
    "shakespeare": open_shakespeare,
    "factbook": open_factbook,
    "emoji": open_emoji,
    "easy-vqa": open_easy_vqa,
}

# The same, but fetched from the hub the first time; `where` names a copy on this machine.
DOWNLOADED: Mapping[str, Callable[..., Source]] = {
    "wikitext-2": open_wikitext_2,
    "wikitext-103": open_wikitext_103,
    "a-okvqa": open_a_okvqa,
    "ok-vqa": open_ok_vqa,
}

# "format:where" is opened as READERS[format](where, split, **options).
READERS: Mapping[str, Callable[..., Source]] = {
    "minari": open_minari,
    "lerobot": open_lerobot,
    "text": open_text,
    "paragraphs": open_paragraphs,
    "images": open_images,
    "hf-text": open_hub_text,
    "hf-captions": open_hub_captions,
    "hf-questions": open_hub_questions,
    "jat": open_jat,
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
    named = {**SOURCES, **DOWNLOADED}
    if name not in named:
        formats = ", ".join(f"{kind}:WHERE" for kind in READERS)
        raise ValueError(f"no source {name!r}; there are {', '.join(named)}; or {formats}")
    return named[name](split, **options)
