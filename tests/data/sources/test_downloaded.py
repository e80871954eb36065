"""WikiText, A-OKVQA and OK-VQA: the contract of named sources, on copies of their layout."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets")

from datasets import Image, List, Value

from mugato.data.registry import DOWNLOADED, open_source
from mugato.data.source import Source
from mugato.episode import validate
from mugato.tokens.sequence import encode
from tests.agents import tiny_tokenizer
from tests.data.formats.hub_files import no_hub, png, write_parquet  # noqa: F401

pytestmark = pytest.mark.usefixtures("no_hub")

ARTICLE = [" = Fish = \n", "", " A fish swims . \n", " = = Food = = \n", "", " It eats . \n"]
WIKITEXT = {"text": ["", *ARTICLE, "", " = Bird = \n", "", " a = b = c \n"]}
PICTURE = {"bytes": png(np.full((20, 30, 3), 90, np.uint8)), "path": None}
A_OKVQA = {
    "image": [PICTURE] * 2,
    "question_id": ["x1", "x2"],
    "question": ["What is the man by the bags awaiting?", "Where does this man eat?"],
    "choices": [["skateboarder", "train", "delivery", "cab"], ["home", "park", "cafe", "car"]],
    "correct_choice_idx": [3, 0],
    "direct_answers": ["['ride', 'cab']", "['home']"],
    "difficult_direct_answer": [False, False],
    "rationales": [["A train would not stop."], ["It is a kitchen."]],
}
OK_VQA = {"images": [PICTURE] * 2, "text": ["Q: What? A: a race", "Q: Who? A: he"]}
FEATURES = {
    "text": Value("string"),
    "image": Image(),
    "images": Image(),
    "question_id": Value("string"),
    "question": Value("string"),
    "choices": List(Value("string")),
    "correct_choice_idx": Value("int8"),
    "direct_answers": Value("string"),
    "difficult_direct_answer": Value("bool"),
    "rationales": List(Value("string")),
}
LAYOUT = {"wikitext-2": WIKITEXT, "wikitext-103": WIKITEXT, "a-okvqa": A_OKVQA, "ok-vqa": OK_VQA}


def copy_of(name: str, folder: Path) -> str:
    splits = dict.fromkeys(("train", "validation", "test"), LAYOUT[name])
    return str(write_parquet(folder, splits, FEATURES))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_every_downloaded_source_keeps_the_contract(name: str, tmp_path: Path):
    where = copy_of(name, tmp_path / "copy")
    source, again = (open_source(name, "train", where=where) for _ in range(2))
    assert isinstance(source, Source)
    assert source.name == name and len(source) == 2
    for index in range(2):
        episode = validate(source[index], source.spec)
        assert len(episode) == 1 and len(episode.rewards) == 0
        assert "train" in episode.name
        np.testing.assert_equal(dict(episode.observations), dict(again[index].observations))
        np.testing.assert_equal(dict(episode.actions), dict(again[index].actions))
        assert encode(episode, source.spec, tiny_tokenizer()).loss_mask.any()
    with pytest.raises(IndexError):
        source[2]
    with pytest.raises(ValueError, match=f"{name} has no split 'dev'; its splits are train, "):
        open_source(name, "dev", where=where)
    with pytest.raises(ValueError, match="the hub cannot be reached"):
        open_source(name, "train")


def test_wikitext_is_whole_articles(tmp_path: Path):
    source = open_source("wikitext-2", "test", where=copy_of("wikitext-2", tmp_path / "copy"))
    first, second = (source[i].actions["text"][0] for i in range(2))
    assert first.startswith("\n = Fish = \n\n A fish swims . \n = = Food = = \n")
    assert second == " = Bird = \n\n a = b = c \n"


def test_wikitext_without_titles_is_refused(tmp_path: Path):
    where = write_parquet(tmp_path / "copy", {"train": {"text": ["a line"]}}, FEATURES)
    with pytest.raises(ValueError, match=r"wikitext-2: .*copy train has no titles"):
        open_source("wikitext-2", "train", where=str(where))


def test_answers_are_the_right_ones(tmp_path: Path):
    source = open_source("a-okvqa", "validation", where=copy_of("a-okvqa", tmp_path / "a"))
    assert [source[i].actions["answer"][0] for i in range(2)] == ["cab", "home"]
    source = open_source("ok-vqa", "test", where=copy_of("ok-vqa", tmp_path / "b"))
    assert [source[i].actions["answer"][0] for i in range(2)] == ["a race", "he"]
    assert source[1].observations["question"][0] == "Who?"


def test_the_secret_answers_of_a_okvqa_are_no_split(tmp_path: Path):
    with pytest.raises(ValueError, match="a-okvqa has no split 'test'; its splits are train, vali"):
        open_source("a-okvqa", "test", where=copy_of("a-okvqa", tmp_path / "copy"))
