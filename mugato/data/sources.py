"""The data that installs with pip, by name. To add a source: one file here and one line below."""

from collections.abc import Callable, Mapping
from typing import Any

from mugato.data.easy_vqa import open_easy_vqa
from mugato.data.emoji import open_emoji
from mugato.data.factbook import open_factbook
from mugato.data.shakespeare import open_shakespeare
from mugato.data.source import Source

SOURCES: Mapping[str, Callable[..., Source]] = {
    "shakespeare": open_shakespeare,
    "factbook": open_factbook,
    "emoji": open_emoji,
    "easy-vqa": open_easy_vqa,
}


def open_source(name: str, split: str, **options: Any) -> Source:
    """Open a split of a named source; options (`size_px`) go to its own opener.

    >>> open_source("shakespear", "train")
    Traceback (most recent call last):
    ValueError: no source 'shakespear'; there are shakespeare, factbook, emoji, easy-vqa
    """
    if name not in SOURCES:
        raise ValueError(f"no source {name!r}; there are {', '.join(SOURCES)}")
    return SOURCES[name](split, **options)
