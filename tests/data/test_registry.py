"""The contract of every named source."""

import numpy as np
import pytest

from mugato.data.registry import READERS, SOURCES, open_source
from mugato.data.source import Source
from mugato.episode import validate


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_source_keeps_the_contract(name: str, split: str):
    source = open_source(name, split)
    assert isinstance(source, Source)
    assert source.name == name
    again = open_source(name, split)
    for index in (0, len(source) // 2, len(source) - 1):
        episode = validate(source[index], source.spec)
        assert len(episode) == 1 and len(episode.rewards) == 0
        assert split in episode.name
        for mine, other in (
            (episode.observations, again[index].observations),
            (episode.actions, again[index].actions),
        ):
            for path, values in mine.items():
                np.testing.assert_array_equal(values, other[path])
    with pytest.raises(IndexError):
        source[len(source)]


def test_wrong_names_and_splits_list_the_right_ones():
    with pytest.raises(
        ValueError, match="no source 'easyvqa'; there are shakespeare, factbook, emo"
    ):
        open_source("easyvqa", "train")
    for name in SOURCES:
        with pytest.raises(ValueError, match=f"{name} has no split 'dev'; its splits are .*train"):
            open_source(name, "dev")


def test_options_may_stand_in_the_name():
    source = open_source("easy-vqa?size_px=32", "test")
    assert source.spec.observation_leaves["image"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"no options \['size'\]; its options are \['size_px'\]"):
        open_source("easy-vqa?size=32", "test")


@pytest.mark.parametrize("kind", READERS)
def test_every_format_says_in_one_line_that_there_is_nothing(kind: str, tmp_path):
    with pytest.raises(ValueError) as raised:
        open_source(f"{kind}:{tmp_path}/nothing-there", "train")
    assert "nothing-there" in str(raised.value) and "\n" not in str(raised.value)
