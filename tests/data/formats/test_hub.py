"""Hugging Face data sets: documents, captions, questions; and everything that goes wrong."""

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets")

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Image, List, Value

from mugato.data.formats.hub import open_hub_captions, open_hub_questions, open_hub_text
from mugato.data.formats.hub_rows import locate
from mugato.data.pictures import read_picture
from mugato.data.registry import open_source
from mugato.episode import validate
from mugato.tokens.sequence import encode
from tests.agents import tiny_tokenizer
from tests.data.formats.hub_files import no_hub, png, write_parquet, write_readme  # noqa: F401

pytestmark = pytest.mark.usefixtures("no_hub")

DOCUMENTS = ["one\ntwo", "", "three über alles"]
FEATURES = {
    "text": Value("string"),
    "image": Image(),
    "caption": Value("string"),
    "captions": List(Value("string")),
    "question": Value("string"),
    "answers": List(Value("string")),
    "choices": List(Value("string")),
    "right": Value("int8"),
}
PICTURES = [png(np.full((20, 30, 3), 40 * i, np.uint8)) for i in range(3)]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    splits = {"train": {"text": DOCUMENTS}, "test": {"text": ["held out"]}}
    return write_parquet(tmp_path / "texts", splits, FEATURES)


def write_questions(folder: Path, **changes: list) -> Path:
    columns = {
        "image": [{"bytes": data, "path": None} for data in PICTURES],
        "question": ["what?", "who?", "why?"],
        "answers": [["snow", "ice", "ice"], ["he"], ["because"]],
    }
    return write_parquet(folder, {"train": {**columns, **changes}}, FEATURES)


def all_texts(source) -> list[str]:
    return [source[i].actions["text"][0] for i in range(len(source))]


def test_rows_of_text_are_documents(texts: Path):
    source = open_source(f"hf-text:{texts}", "train")
    assert source.name == f"hf-text:{texts}"
    assert all_texts(source) == DOCUMENTS
    assert all_texts(open_hub_text(str(texts), "test")) == ["held out"]
    validate(source[0], source.spec)
    sequence = encode(source[2], source.spec, tiny_tokenizer())
    assert sequence.loss_mask[:-1].all()
    with pytest.raises(IndexError, match="has 3 rows, no row 3"):
        source[3]


def test_single_files_of_any_kind_give_the_same(texts: Path, tmp_path: Path):
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps({"text": d}) for d in DOCUMENTS))
    (tmp_path / "plain.txt").write_text("first\nsecond\n")
    parquet = texts / "train-00000-of-00001.parquet"
    assert all_texts(open_hub_text(str(parquet), "train")) == DOCUMENTS
    assert all_texts(open_hub_text(str(tmp_path / "lines.jsonl"), "train")) == DOCUMENTS
    assert all_texts(open_hub_text(str(tmp_path / "plain.txt"), "train")) == ["first", "second"]
    with pytest.raises(ValueError, match=r"README\.md is no file that we read; those end with"):
        (tmp_path / "README.md").write_text("")
        open_hub_text(str(tmp_path / "README.md"), "train")


def test_the_first_rows_are_those_of_the_whole(texts: Path):
    assert all_texts(open_hub_text(str(texts), "train", rows=2)) == DOCUMENTS[:2]
    assert all_texts(open_hub_text(str(texts), "train", rows=9)) == DOCUMENTS
    write_parquet(texts, {"train": {"text": ["changed"]}}, FEATURES)
    assert all_texts(open_hub_text(str(texts), "train", rows=2)) == ["changed"]
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        open_hub_text(str(texts), "train", rows=0)


def test_a_source_travels_to_other_processes_without_its_rows(tmp_path: Path):
    long = write_parquet(tmp_path / "long", {"train": {"text": ["x" * 10_000] * 100}}, FEATURES)
    source = open_hub_text(str(long), "train")
    copy = pickle.dumps(source)
    assert len(copy) < 20_000
    assert pickle.loads(copy)[99].actions["text"][0] == "x" * 10_000


def test_captions(tmp_path: Path):
    columns = {
        "image": [{"bytes": data, "path": None} for data in PICTURES],
        "captions": [["black", "dark"], ["gray"], ["light"]],
    }
    folder = write_parquet(tmp_path / "pictures", {"train": columns}, FEATURES)
    source = open_source(f"hf-captions:{folder}", "train", size_px=32)
    assert [source[i].actions["caption"][0] for i in range(3)] == ["black", "gray", "light"]
    for i, data in enumerate(PICTURES):
        seen = validate(source[i], source.spec).observations["image"][0]
        np.testing.assert_array_equal(seen, read_picture(data, "it", size_px=32))
    assert len(encode(source[1], source.spec, tiny_tokenizer())) > 4
    assert np.asarray(source.lengths).tolist() == [1, 1, 1]


def test_pictures_in_a_folder_of_files(tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.png").write_bytes(PICTURES[1])
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "gray"}))
    source = open_hub_captions(str(folder), "train", size_px=16)
    assert source[0].actions["caption"][0] == "gray"
    assert (source[0].observations["image"] == 40).all()


def test_questions_take_the_commonest_answer_or_the_right_choice(tmp_path: Path):
    folder = write_questions(tmp_path / "vqa")
    source = open_source(f"hf-questions:{folder}", "train", size_px=16)
    episode = validate(source[0], source.spec)
    assert episode.observations["question"][0] == "what?"
    assert episode.actions["answer"][0] == "ice"
    choices = write_questions(
        tmp_path / "choices", choices=[["a", "b"]] * 3, right=[1, 0, 2], answers=[[]] * 3
    )
    source = open_hub_questions(str(choices), "train", answer="choices", choice="right")
    assert [source[i].actions["answer"][0] for i in range(2)] == ["b", "a"]
    with pytest.raises(ValueError, match=r"choices train row 2: 'right' is 2: none of 2 choices"):
        source[2]
    unanswered = open_hub_questions(str(choices), "train")
    with pytest.raises(ValueError, match="row 0: 'answers' is no text: 'None'"):
        unanswered[0]


def test_wrong_splits_and_columns_list_the_right_ones(texts: Path):
    with pytest.raises(ValueError, match="has no split 'dev'; its splits are train, test"):
        open_hub_text(str(texts), "dev")
    with pytest.raises(ValueError, match="has no split 'dev'; its splits are train, test"):
        open_hub_text(str(texts), "dev", rows=1)
    with pytest.raises(ValueError, match="train has no column 'body'; it has text"):
        open_hub_text(str(texts), "train", column="body")
    with pytest.raises(
        ValueError, match=r"none of the columns image, .* it has text: name one wit"
    ):
        open_hub_captions(str(texts), "train")


def test_configurations_are_found_by_the_card(tmp_path: Path):
    for config in ("small-raw", "large-raw"):
        write_parquet(tmp_path / "data", {config: {"text": [config]}}, FEATURES)
    write_readme(tmp_path, ["small-raw", "large-raw"], ["train"], path="data/{config}-*")
    assert locate(str(tmp_path / "small-raw")).config == "small-raw"
    assert all_texts(open_hub_text(str(tmp_path / "small-raw"), "train")) == ["small-raw"]
    with pytest.raises(ValueError, match=r"no 'smal-raw' in .*; did you mean small-raw"):
        open_hub_text(str(tmp_path / "smal-raw"), "train")
    with pytest.raises(
        ValueError, match=r" cannot be read: Config name is missing.*'small-raw', 'large-raw'"
    ):
        open_hub_text(str(tmp_path), "train")


@pytest.mark.parametrize("rows", [None, 2])
def test_no_network_is_said_at_once_in_one_line(rows: int | None):
    start = time.monotonic()
    with pytest.raises(
        ValueError, match=r"some/where/config lies neither here .* cannot be reached"
    ) as e:
        open_hub_text("some/where/config", "train", rows=rows)
    assert "\n" not in str(e.value)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("where", ["", "/nowhere/at/all", "a/b/c/d", "./nothing"])
def test_places_that_cannot_be(where: str):
    with pytest.raises(ValueError, match=r"no '|is neither a folder here|no place"):
        open_hub_text(where, "train")


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_damaged_parquet_files_are_named(texts: Path, rows: int | None, how: str):
    path = texts / "train-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    data[4:60] = b"x" * 56
    path.write_bytes(data if how == "overwritten" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf"cannot be read: {path}: .") as caught:
        open_hub_text(str(texts), "train", rows=rows)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_values_are_named_with_row_and_column(tmp_path: Path):
    cut = PICTURES[0][: len(PICTURES[0]) // 2]
    images = [{"bytes": cut, "path": None}, None, {"bytes": b"no picture", "path": None}]
    source = open_hub_questions(str(write_questions(tmp_path / "a", image=images)), "train")
    with pytest.raises(ValueError, match=r"a train row 0: 'image' is no picture: "):
        source[0]
    with pytest.raises(ValueError, match=r"a train row 1: 'image' holds no picture"):
        source[1]
    with pytest.raises(ValueError, match=r"a train row 2: 'image' is no picture: b'no"):
        source[2]
    nulls = write_questions(tmp_path / "b", question=["what?", None, "why?"])
    with pytest.raises(ValueError, match=r"b train row 1: 'question' is no text: 'None'"):
        open_hub_questions(str(nulls), "train")[1]


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("where", ["empty", "none.jsonl", "none.txt", "header.csv"])
def test_no_rows_are_an_error(tmp_path: Path, where: str, rows: int | None):
    write_parquet(tmp_path / "empty", {"train": {"text": []}}, FEATURES)
    for name, content in {"none.jsonl": "", "none.txt": "", "header.csv": "text\n"}.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{where}( train)? has no rows$"):
        open_hub_text(str(tmp_path / where), "train", rows=rows)


@pytest.mark.parametrize("form", ["bytes", "path"])
def test_pictures_may_be_bytes_or_paths(tmp_path: Path, form: str):
    for i, data in enumerate(PICTURES):
        (tmp_path / f"{i}.png").write_bytes(data)
    table = {
        "image": PICTURES if form == "bytes" else [f"{i}.png" for i in range(3)],
        "caption": ["black", "null", "NA"],
    }
    if form == "bytes":
        pq.write_table(pa.table(table), tmp_path / "mine.parquet")
    else:
        rows = zip(table["image"], table["caption"], strict=True)
        (tmp_path / "mine.csv").write_text(
            "image,caption\n" + "".join(f"{a},{b}\n" for a, b in rows)
        )
    where = tmp_path / ("mine.parquet" if form == "bytes" else "mine.csv")
    source = open_hub_captions(str(where), "train", size_px=8)
    for i in range(3):
        episode = validate(source[i], source.spec)
        assert episode.actions["caption"][0] == table["caption"][i]
        assert (episode.observations["image"] == 40 * i).all()


def test_a_picture_that_is_not_there_is_named(tmp_path: Path):
    (tmp_path / "mine.csv").write_text("image,caption\nlost.png,a\n")
    source = open_hub_captions(str(tmp_path / "mine.csv"), "train", size_px=8)
    with pytest.raises(ValueError, match=r"row 0: 'image' holds no picture: .* no file .*lost"):
        source[0]


def test_answers_may_stand_in_dictionaries(tmp_path: Path):
    answers = [[{"answer": a, "answer_id": i} for i, a in enumerate(["no", "yes", "yes"])]] * 3
    table = {"image": PICTURES, "question": ["?"] * 3, "answers": answers}
    pq.write_table(pa.table(table), tmp_path / "vqa.parquet")
    source = open_hub_questions(str(tmp_path / "vqa.parquet"), "train", size_px=8)
    assert source[0].actions["answer"][0] == "yes"
