"""The factbook: plain passages, no passage in two splits."""

import re
from itertools import combinations

import pytest

from mugato.data.sources.factbook import PERCENT, letters, open_factbook, split_passages


@pytest.fixture(scope="module")
def passages() -> dict[str, list[str]]:
    sources = {split: open_factbook(split) for split in PERCENT}
    return {
        split: [source[i].actions["text"][0] for i in range(len(source))]
        for split, source in sources.items()
    }


@pytest.mark.thorough
def test_counts(passages: dict[str, list[str]]):
    assert {split: len(found) for split, found in passages.items()} == {
        "train": 8245,
        "validation": 480,
        "test": 448,
    }
    assert sum(len(text) for found in passages.values() for text in found) == 2_594_454


@pytest.mark.thorough
def test_passages_are_plain_text(passages: dict[str, list[str]]):
    for found in passages.values():
        for text in found:
            assert not re.search(r"</?[a-zA-Z!]|&\w+;|\s\s|\n", text), text
            assert len(text) >= 100 and text == text.strip()


def test_no_passage_is_in_two_splits_even_with_other_numbers(passages: dict[str, list[str]]):
    keys = {split: {letters(text) for text in found} for split, found in passages.items()}
    for one, other in combinations(PERCENT, 2):
        assert keys[one].isdisjoint(keys[other])
    everything = [text for found in passages.values() for text in found]
    assert len(everything) == len(set(everything))


def test_escaped_breaks_split_too():
    first, second = "x" * 120, "y" * 120
    for line_break in ("<br>", "<BR/>", "<br><br>", "&lt;br&gt;", "</p><p style='margin: 0'>"):
        assert split_passages(f"<p>{first}{line_break}<b>{second}</b></p>") == [first, second]
