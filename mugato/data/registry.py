"""All data by name: sources that install with pip, some from the hub, readers of users' formats.

To add a source: one file and one line in `SOURCES`; to add a format: the same in `READERS`, or in
`CACHED_READERS` if its episodes may stay in memory. A user's sources come from plugins.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, get_args
from urllib.parse import parse_qsl

from mugato.data.cache import MemoryBudget
from mugato.data.formats.hub import open_hub_captions, open_hub_questions, open_hub_text
from mugato.data.formats.image_folder import open_images
from mugato.data.formats.jat import open_jat
from mugato.data.formats.lerobot import open_lerobot
from mugato.data.formats.minari.read import complete_dataset_id, dataset_folder, open_minari
from mugato.data.formats.multinet.read import open_multinet
from mugato.data.formats.text_files import open_paragraphs, open_text
from mugato.data.source import Source
from mugato.data.sources.downloaded import QUESTIONS, open_questions, open_wikitext
from mugato.data.sources.easy_vqa import open_easy_vqa
from mugato.data.sources.emoji import open_emoji
from mugato.data.sources.factbook import open_factbook
from mugato.data.sources.shakespeare import open_shakespeare
from mugato.system.errors import did_you_mean
from mugato.system.plugins import plugins

# The splits that scores are measured on: the first one that a source has.
HELD_OUT = ("test", "validation")
# Ids of Gymnasium's environments end with a version.
ENVIRONMENT_VERSION = re.compile(r"-v\d+$")
_DEMONSTRATIONS_HINT = (
    "; an environment that is not one of our tasks needs its demonstrations named, a Minari data "
    "set: DatasetConfig(name=..., demonstrations=...), or --env and --demonstrations"
)

# Called as opener(split, **options).
SOURCES: dict[str, Callable[..., Source]] = {
    "shakespeare": open_shakespeare,
    "factbook": open_factbook,
    "emoji": open_emoji,
    "easy-vqa": open_easy_vqa,
}

# The same, but fetched from the hub the first time; `where` names a copy on this machine.
DOWNLOADED: Mapping[str, Callable[..., Source]] = {
    "wikitext-2": partial(open_wikitext, 2),
    "wikitext-103": partial(open_wikitext, 103),
    **{name: partial(open_questions, name) for name in QUESTIONS},
}

# "format:where" is opened as READERS[format](where, split, **options).
READERS: Mapping[str, Callable[..., Source]] = {
    "text": open_text,
    "paragraphs": open_paragraphs,
    "images": open_images,
    "hf-text": open_hub_text,
    "hf-captions": open_hub_captions,
    "hf-questions": open_hub_questions,
    "multinet": open_multinet,
}

# The same, as CACHED_READERS[format](where, split, budget, **options): the run's budget of memory.
CACHED_READERS: Mapping[str, Callable[..., Source]] = {
    "minari": open_minari,
    "lerobot": open_lerobot,
    "jat": open_jat,
}
FORMATS = (*CACHED_READERS, *READERS)


def open_source(
    name: str, split: str, budget: MemoryBudget | None = None, **options: Any
) -> Source:
    """Open a split of a named source, or of data in a known format ("minari:my/data-v0").

    Options go to the opener; they may stand in the name, as in a web address:
    "easy-vqa?size_px=32", "jat:atari-pong?frames=4&rows=1000".

    Args:
        budget: what episodes may stay in memory, shared with other sources; its own if None.

    Raises:
        ValueError: an unknown name, format, split or option, listing the known ones; or what the
            opener finds wrong with the data.

    >>> open_source("shakespear", "train")
    Traceback (most recent call last):
    ValueError: no source 'shakespear'; did you mean shakespeare?
    """
    name, options = _options_in(name, options)
    kind, colon, where = name.partition(":")
    if colon and kind in READERS:
        _check_options(name, READERS[kind], options)
        return READERS[kind](where, split, **options)
    if colon and kind in CACHED_READERS:
        _check_options(name, CACHED_READERS[kind], options)
        return CACHED_READERS[kind](where, split, budget, **options)
    named = {**SOURCES, **DOWNLOADED}
    if name not in named:
        raise ValueError(f"no source {name!r}{_known(name, named)}{plugins().hint()}")
    _check_options(name, named[name], options)
    return named[name](split, **options)


def _known(name: str, named: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: what was meant, or what there is."""
    formats = ", ".join(f"{kind}:WHERE" for kind in FORMATS)
    hint = _DEMONSTRATIONS_HINT if ENVIRONMENT_VERSION.search(name) else ""
    meant = did_you_mean(name, [*named, *_recorded(name)])
    return meant or f"; there are {', '.join(named)}; or {formats}{hint}"


def _recorded(name: str) -> list[str]:
    """Return the name of the user's Minari data set that is called so, if there is one."""
    with suppress(ValueError):
        if dataset_folder(complete_dataset_id(name)).exists():
            return [f"minari:{name}"]
    return []


def is_source(name: str) -> bool:
    """Tell whether a name is that of a source, or of data in a known format.

    >>> [is_source(name) for name in ("easy-vqa?size_px=32", "text:notes.txt", "CartPole-v1")]
    [True, True, False]
    """
    name = name.partition("?")[0]
    kind, colon, _ = name.partition(":")
    return name in {**SOURCES, **DOWNLOADED} or bool(colon and kind in FORMATS)


def open_held_out(name: str) -> tuple[Source, str]:
    """Open the split of a source that scores are measured on; also return its name.

    Raises:
        ValueError: from opening the first of `HELD_OUT`, if none can be opened.
    """
    faults = list[ValueError]()
    for split in HELD_OUT:
        try:
            return open_source(name, split), split
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def named_like(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is this source: itself, or else the first with options behind it.

    >>> named_like("easy-vqa", ["emoji", "easy-vqa?size_px=32"])
    'easy-vqa?size_px=32'
    """
    known = list(names)
    if name in known:
        return name
    return next((other for other in known if other.partition("?")[0] == name), None)


def _options_in(name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take the options out of a name; numbers, true, false and null are what they say.

    >>> _options_in("jat:atari-pong?frames=4&where=here", {})
    ('jat:atari-pong', {'frames': 4, 'where': 'here'})
    """
    name, _, query = name.partition("?")
    found: dict[str, Any] = dict(options)
    for key, value in parse_qsl(query, keep_blank_values=True):
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return name, found


def _check_options(name: str, opener: Callable[..., Source], options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(opener).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for columns in (p.annotation for p in parameters if p.kind is p.VAR_KEYWORD):
        known += get_args(columns)[0].__annotations__  # of Unpack[a TypedDict]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no options {unknown}; its options are {known}")


def _take(plugin: ModuleType) -> None:
    """Add a plugin's sources, all or none."""
    added = dict(getattr(plugin, "SOURCES", {}))
    for name, opener in added.items():
        if not callable(opener):
            raise ValueError(f"SOURCES[{name!r}] is a {type(opener).__name__}, not a function")
        if is_source(name):
            raise ValueError(f"there is a source {name!r} already")
    SOURCES.update(added)


plugins().offer(_take)
