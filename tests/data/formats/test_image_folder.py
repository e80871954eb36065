"""Folders of captioned pictures, in all the layouts that people bring."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mugato.data.formats.image_folder import PERCENT, open_images
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.episode import validate

NUM_PICTURES = 40


def color(i: int) -> tuple[int, int, int]:
    return (i * 6, 255 - i, i)


def pictures(folder: Path, count: int = NUM_PICTURES) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:02}.{'jpg' if i % 4 == 3 else 'png'}" for i in range(count)]
    for i, name in enumerate(names):
        Image.new("RGB", (20, 30), color(i)).save(folder / name)
    return names


def jsonl(folder: Path, names: list[str], column: str = "text") -> None:
    rows = [{"file_name": name, column: f"picture {int(name[:2])}"} for name in names]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(folder: Path, names: list[str]) -> None:
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "size", "caption"])
        writer.writerows([name, 3, f"picture {int(name[:2])}"] for name in names)


def beside(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).with_suffix(".txt").write_text(f"picture {int(name[:2])}\n")


def shown(source: Source) -> dict[str, np.ndarray]:
    """Caption -> picture."""
    episodes = [validate(source[i], source.spec) for i in range(len(source))]
    return {e.actions["caption"][0]: e.observations["image"][0] for e in episodes}


@pytest.mark.parametrize("captions", [jsonl, table, beside])
def test_every_layout_gives_every_picture_its_caption(tmp_path, captions):
    captions(tmp_path, pictures(tmp_path))
    source = open_source(f"images:{tmp_path}", "all", size_px=8)
    assert isinstance(source, Source)
    found = shown(source)
    assert sorted(found) == sorted(f"picture {i}" for i in range(NUM_PICTURES))
    for i in range(NUM_PICTURES):
        assert np.abs(found[f"picture {i}"].astype(int) - color(i)).max() <= 3  # JPEG
    with pytest.raises(IndexError):
        source[NUM_PICTURES]


def test_splits_are_disjoint_and_together_all(tmp_path):
    jsonl(tmp_path, pictures(tmp_path))
    parts = {split: set(shown(open_images(str(tmp_path), split))) for split in PERCENT}
    assert sum(map(len, parts.values())) == NUM_PICTURES == len(set.union(*parts.values()))
    assert len(parts["train"]) > len(parts["test"]) > 0


def test_folders_named_after_splits_are_the_splits(tmp_path):
    for split, count in (("train", 5), ("test", 2)):
        jsonl(tmp_path / split, pictures(tmp_path / split, count))
    assert len(open_images(str(tmp_path))) == 5
    assert len(open_images(str(tmp_path), "test")) == 2
    with pytest.raises(ValueError, match="no split 'validation'; its splits are all, train, test"):
        open_images(str(tmp_path), "validation")
    beside(tmp_path, pictures(tmp_path, 1))
    jsonl(tmp_path, ["00.png"])
    with pytest.raises(ValueError, match=r"picture 00\.png lies in none of the splits train, test"):
        open_images(str(tmp_path))


def test_metadata_above_the_pictures(tmp_path):
    names = pictures(tmp_path / "train", 3)
    rows = [{"file_name": f"train/{name}", "text": name} for name in names]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert list(shown(open_images(str(tmp_path)))) == names


def test_several_captions_of_a_picture_are_several_episodes(tmp_path):
    names = pictures(tmp_path, 1)
    jsonl(tmp_path, names * 5)
    assert len(open_images(str(tmp_path), "all")) == 5


def test_a_caption_column_can_be_named(tmp_path):
    table(tmp_path, pictures(tmp_path, 2))
    assert set(shown(open_images(str(tmp_path), "all", caption="size"))) == {"3"}


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "01.png").unlink(), r"metadata\.jsonl line 2: there is no picture '01.png"),
        (lambda f: pictures(f, 5), r"picture .*04\.png has no row in .*metadata\.jsonl"),
        (lambda f: append(f / "metadata.jsonl", "{"), r"metadata\.jsonl line 5 is no JSON"),
        (lambda f: append(f / "metadata.jsonl", "[1]"), r"line 5 is no JSON object: \[1\]"),
        (lambda f: append(f / "metadata.jsonl", '{"text": "a"}'), "line 5: no column 'file_name'"),
        (
            lambda f: append(f / "metadata.jsonl", '{"file_name": "00.png", "text": null}'),
            "line 5: the caption must be text, got None",
        ),
        (
            lambda f: append(f / "metadata.jsonl", '{"file_name": "00.png", "a": "", "b": ""}'),
            "line 5: which column is the caption.* a, b",
        ),
        (
            lambda f: (f / "metadata.jsonl").write_bytes(b'{"file_name": "\xff'),
            r"metadata\.jsonl is no UTF-8",
        ),
        (lambda f: (f / "metadata.jsonl").unlink(), r"picture .*00\.png has no caption"),
    ],
)
def test_damaged_layouts_are_named(tmp_path, damage, message):
    jsonl(tmp_path, pictures(tmp_path, 4))
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_images(str(tmp_path), "all")


def test_a_ragged_table_is_refused(tmp_path):
    table(tmp_path, pictures(tmp_path, 2))
    append(tmp_path / "metadata.csv", "00.png,1,a caption, with a comma\n")
    with pytest.raises(ValueError, match=r"metadata\.csv line 4 is no CSV: more cells"):
        open_images(str(tmp_path), "all")


def test_an_empty_caption_beside_a_picture_is_refused(tmp_path):
    beside(tmp_path, pictures(tmp_path, 2))
    (tmp_path / "01.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"caption .*01\.txt is empty"):
        open_images(str(tmp_path), "all")


@pytest.mark.parametrize("name", ["00.png", "03.jpg"])
def test_truncated_pictures_are_named(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(
        tmp_path / name
    )
    beside(tmp_path, [name])
    whole = (tmp_path / name).read_bytes()
    for kept in (0, 20, len(whole) // 2):
        (tmp_path / name).write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=rf"images:.*{name} (is|cannot be read)"):
            open_images(str(tmp_path), "all")[0]


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        open_images(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no pictures \(\.png"):
        open_images(str(tmp_path))
    with pytest.raises(ValueError, match="size_px must be at least 1, got 0"):
        open_images(str(tmp_path), size_px=0)


def test_every_kind_of_picture_is_used_and_the_rest_is_named(tmp_path):
    seen = Image.new("RGB", (8, 8), (10, 200, 30))
    for name in ("a.tif", "b.tiff", "c.jfif", "d.avif", "E.PNG", "f.JPG"):
        seen.save(tmp_path / name, {"jfif": "JPEG", "JPG": "JPEG"}.get(name[2:]))
        (tmp_path / name).with_suffix(".TXT" if name == "E.PNG" else ".txt").write_text(name)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for copy in (".ipynb_checkpoints/a.tif", "._f.JPG"):
        (tmp_path / copy).write_bytes(b"a copy that an editor made")
    (tmp_path / "notes.pdf").write_bytes(b"no picture")
    source = open_images(str(tmp_path), "all", size_px=8)
    found = shown(source)
    assert sorted(found) == ["E.PNG", "a.tif", "b.tiff", "c.jfif", "d.avif", "f.JPG"]
    for picture in found.values():
        assert np.abs(picture.astype(int) - (10, 200, 30)).max() <= 6
    assert source.remarks == ("3 files are not read: ._f.JPG, .ipynb_checkpoints/a.tif, notes.pdf",)


def test_a_caption_without_its_picture_is_named(tmp_path):
    beside(tmp_path, pictures(tmp_path, 3))
    (tmp_path / "lost.txt").write_text("a cat")
    with pytest.raises(ValueError, match=r"the caption .*lost.txt has no picture beside it"):
        open_images(str(tmp_path), "all")
