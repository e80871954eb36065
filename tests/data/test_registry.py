"""The contract of every named source."""

import numpy as np
import pytest

from mugato.data.cache import MemoryBudget
from mugato.data.config import DatasetConfig
from mugato.data.language import TEXT_SPEC
from mugato.data.registry import CACHED_READERS, FORMATS, SOURCES, open_source
from mugato.data.source import EpisodeList, Source
from mugato.episode import validate
from mugato.training.setup import open_sources


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.thorough), "test"])
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
    with pytest.raises(ValueError, match=r"no source 'easyvqa'; did you mean easy-vqa\?$"):
        open_source("easyvqa", "train")
    with pytest.raises(ValueError, match="no source 'zzz'; there are shakespeare, factbook, emo"):
        open_source("zzz", "train")
    for name in SOURCES:
        with pytest.raises(ValueError, match=f"{name} has no split 'dev'; its splits are .*train"):
            open_source(name, "dev")


def test_options_may_stand_in_the_name():
    source = open_source("easy-vqa?size_px=32", "test")
    assert source.spec.observation_leaves["image"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match=r"no options \['size'\]; its options are \['size_px'\]"):
        open_source("easy-vqa?size=32", "test")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_says_in_one_line_that_there_is_nothing(kind: str, tmp_path):
    with pytest.raises(ValueError) as raised:
        open_source(f"{kind}:{tmp_path}/nothing-there", "train")
    assert "nothing-there" in str(raised.value) and "\n" not in str(raised.value)


def test_an_environments_id_says_that_it_needs_demonstrations():
    with pytest.raises(ValueError, match=r"no source 'CartPole-v1'; .* needs its demonstrations"):
        open_sources([DatasetConfig(name="CartPole-v1")])
    with pytest.raises(ValueError, match=r"no source 'cartpol'; .*jat:WHERE[^;]*$"):
        open_source("cartpol", "train")


@pytest.mark.parametrize("name", ["emoji", "easy-vqa?size_px=32", "wikitext-2", "text:notes.txt"])
def test_demonstrations_of_what_is_not_a_task_are_refused(name: str):
    with pytest.raises(ValueError, match=r"is a source, not a task or an environment.* got 'mine'"):
        DatasetConfig(name=name, demonstrations="mine")


def test_sources_that_cache_share_the_budget_that_they_are_opened_with(monkeypatch):
    given = []

    def opener(*args) -> Source:
        given.append(args)
        return EpisodeList(name="nothing", spec=TEXT_SPEC, episodes=[])

    for kind in CACHED_READERS:
        monkeypatch.setitem(CACHED_READERS, kind, opener)
    budget = MemoryBudget(1)
    for kind in CACHED_READERS:
        open_source(f"{kind}:here", "train", budget)
    assert given == [("here", "train", budget)] * len(CACHED_READERS)
