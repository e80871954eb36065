"""Plain text files: every document once, equal ones in one split, faults named."""

import pickle
from pathlib import Path

import pytest

from mugato.data.formats.text_files import PERCENT, open_paragraphs, open_text
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.episode import validate

NUM_FILES = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    for i in range(NUM_FILES):
        path = tmp_path / ("inner" if i % 2 else "") / f"{i:02}.{'md' if i % 3 else 'txt'}"
        path.write_text(f"Document {i}\nends here.\n\nIts second paragraph, {i}.\n")
    (tmp_path / "notes.rst").write_text("neither .txt nor .md")
    return tmp_path


def texts(source: Source) -> list[str]:
    return [validate(source[i], source.spec).actions["text"][0] for i in range(len(source))]


def test_a_folder_gives_every_file_once_and_whole(folder):
    source = open_source(f"text:{folder}", "all")
    assert isinstance(source, Source)
    assert sorted(texts(source)) == sorted(
        path.read_text() for path in folder.rglob("*") if path.suffix in (".txt", ".md")
    )
    with pytest.raises(IndexError):
        source[len(source)]


def test_splits_are_disjoint_and_together_all(folder):
    parts = {split: texts(open_text(str(folder), split)) for split in PERCENT}
    assert sum(map(len, parts.values())) == NUM_FILES
    assert sorted(text for part in parts.values() for text in part) == sorted(
        texts(open_text(str(folder), "all"))
    )
    assert len(parts["train"]) > len(parts["test"]) > 0


def test_equal_documents_share_a_split(folder):
    for path in list(folder.rglob("*.txt")):
        (folder / f"copy of {path.name}").write_text(path.read_text().replace("\n", "  \r\n"))
    parts = [
        {" ".join(text.split()) for text in texts(open_text(str(folder), split))}
        for split in PERCENT
    ]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_blank_lines_cut_paragraphs(folder):
    source = open_source(f"paragraphs:{folder}", "all")
    assert len(source) == 2 * NUM_FILES
    assert texts(source)[:2] == ["Document 0\nends here.", "Its second paragraph, 0."]
    assert "00.txt paragraph 1" in source[1].name
    assert source.name == f"paragraphs:{folder}"


def test_a_glob_chooses_files(folder):
    assert len(open_text(f"{folder}/**/*.rst", "all")) == 1
    assert len(open_text(f"{folder}/0*", "all")) == 5


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "one.txt"
    for text in ("first", "second"):
        path.write_text(text)
        assert texts(open_text(str(path), "all")) == [text]


def test_only_places_are_kept(folder):
    source = open_paragraphs(str(folder), "all")
    assert texts(pickle.loads(pickle.dumps(source))) == texts(source)
    assert b"ends here" not in pickle.dumps(source)


def test_faults_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"text:.*nowhere: no such file there"):
        open_text(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no \.txt or \.md file there"):
        open_text(str(tmp_path))
    with pytest.raises(ValueError, match=r"paragraphs:.*nowhere: no such file there"):
        open_paragraphs(str(tmp_path / "nowhere"))
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"a\.txt is empty"):
        open_text(str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(ValueError, match=r"a\.txt is no UTF-8 text: .* at byte 3"):
        open_text(str(tmp_path))
    (tmp_path / "a.txt").write_text("a single one")
    empty = [split for split in PERCENT if split_is_empty(tmp_path, split)]
    assert len(empty) == 2  # a single document falls to a single split
    with pytest.raises(ValueError, match="its splits are all, train, validation, test"):
        open_text(str(tmp_path), "dev")


def split_is_empty(folder: Path, split: str) -> bool:
    try:
        return len(open_text(str(folder), split)) == 0
    except ValueError as error:
        assert f"no document falls to split {split!r}; take 'all', or cut" in str(error)
        return True


def test_endings_in_capitals_are_read_hidden_copies_are_not(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("A.TXT", "b.Md", ".ipynb_checkpoints/b.md", "._A.txt", "c.rst"):
        (tmp_path / name).write_text(name)
    source = open_text(str(tmp_path), "all")
    assert sorted(texts(source)) == ["A.TXT", "b.Md"]
    assert source.remarks == ("3 files are not read: ._A.txt, .ipynb_checkpoints/b.md, c.rst",)
