"""MultiNet's downloads as sources: its true layout, only what is for training, nothing run."""

import io
import pickle
import random
import subprocess
import zipfile

import numpy as np
import pytest
import torch

from examples.multinet.posing import pose
from mugato.data.formats.multinet.answers import extract_calls
from mugato.data.formats.multinet.downloads import FIND
from mugato.data.formats.multinet.names import FOLDERS
from mugato.data.formats.multinet.plain_pickle import read_plain_pickle
from mugato.data.formats.multinet.read import expanded
from mugato.data.registry import open_source
from tests.agents import tiny_agent
from tests.data.formats.multinet_files import COLORS, TESTED, overcooked_rows, write_all
from tests.data.formats.multinet_files import write_overcooked as write_games


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("multinet"))


def questions(source) -> list[tuple[str, object]]:
    """Return what is asked and what is right, of every episode, checked."""
    episodes = [source.checked(i) for i in range(len(source))]
    return [(e.observations["question"][0], e.actions["answer"][0]) for e in episodes]


def colors(source) -> list[str]:
    seen = [source[i].observations["image"][0] for i in range(len(source))]
    assert all((pixels == pixels[0, 0]).all() for pixels in seen)
    return [next(n for n, c in COLORS.items() if c == tuple(p[0, 0].tolist())) for p in seen]


def test_piqa_is_asked_as_the_harness_does_and_its_test_left_out(root):
    source = open_source(f"multinet:{root}/piqa", "train")
    asked = questions(source)
    assert len(asked) == 8 and source.remarks == ("2 of 10 are the benchmark's test and left out",)
    tested = random.Random(42).sample(range(10), 2)
    assert set(tested) == TESTED
    goals = [text.split("\n")[0] for text, _ in asked]
    assert goals[0] == "Goal: use a box" and "Goal: dev" not in goals
    assert asked[0][0].endswith("Solution 2: eat it\nWhich solution is better for the given goal?")
    assert [answer for _, answer in asked] == [i % 3 % 2 for i in range(2, 10)]


def test_what_the_processor_wrote_of_its_test_is_left_out_too(root, tmp_path):
    subprocess.run(["cp", "-r", root / "piqa", tmp_path], check=True)
    written = '{"test_identifiers": ["id-7"], "total_count": 1}'
    (tmp_path / "piqa/piqa_test_identifiers.json").write_text(written)
    assert len(open_source(f"multinet:{tmp_path}/piqa", "train")) == 7


def test_bfcl_is_asked_turn_after_turn(root):
    source = open_source(f"multinet:{root}/bfcl?max_characters=100000", "train")
    asked = questions(source)
    assert len(asked) == 16  # two turns of eight conversations
    assert "8 turns that call nothing are left out" in source.remarks
    first, second = asked[0], asked[1]
    assert first[0].startswith('Initial Environment Configuration:\n{\n  "GorillaFileSystem"')
    assert "\n\n=== Turn 2 ===\nUser: List all" in first[0]
    assert first[0].endswith("Output the function calls for each turn in order.\nGo into folder 2.")
    assert extract_calls(str(first[1])) == ["cd(folder='2')", "cp(source='a  2.txt', at=(1, 2))"]
    assert second[0].endswith(
        "\nuser: Go into folder 2.\nassistant: cd(folder='2'), cp(source='a  2.txt', at=(1, 2))\n"
        "List all, the hidden ones too."
    )
    short = questions(open_source(f"multinet:{root}/bfcl_v3?max_characters=31", "train"))
    assert short[1][0] == "List all, the hidden ones too."


def test_sqa3d_shows_the_scene_and_leaves_out_those_without_a_picture(root):
    source = open_source(f"multinet:{root}/sqa3d?size_px=16", "train")
    assert [answer for _, answer in questions(source)] == colors(source) == ["red", "green", "blue"]
    assert questions(source)[0][0].startswith(
        "Scene: scene0000_00\nSituation: I sit.\nQuestion: What color do I see, train?\nPlease"
    )
    assert source.remarks == ("1 questions without a scene's picture or an answer",)
    assert source.spec.observation_leaves["image"].shape == (16, 16, 3)


def test_robot_vqa_shows_the_last_picture(root):
    source = open_source(f"multinet:{root}/robovqa", "train")
    assert len(source) == 8 and colors(source)[::2] == list(COLORS)
    assert questions(source)[:2] == [
        ("Question: Is it seen?", "yes it is"),
        ("Task and Context: task: look\n Question: Which color?", "a red"),
    ]


def test_odinw_cuts_out_boxes_and_names_their_class(root):
    source = open_source(f"multinet:{root}/odinw", "train")
    assert [answer for _, answer in questions(source)] == colors(source) == ["red", "green", "blue"]
    assert questions(source)[2][0] == (
        "What object is shown in this image from the dice dataset?\nOption 0: dots\n"
        "Option 1: blue\nOutput the number (0-1) of the correct option only."
    )


@pytest.mark.parametrize("kind", ["csv", "pickle"])
def test_overcooked_numbers_what_both_players_do(tmp_path, kind):
    write_games(tmp_path, kind=kind)
    source = open_source(f"multinet:{tmp_path}/overcooked_ai", "train")
    assert [answer for _, answer in questions(source)] == [1, 29, 15, 30]
    assert colors(source) == list(COLORS)
    assert questions(source)[0][0] == (
        "Layout: asymmetric_advantages_tomato\nTime left: 59.8s\nTime elapsed: 0.2s"
    )


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch should-not-exist",)


def test_no_pickle_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "overcooked_ai/train"
    folder.mkdir(parents=True)
    path = folder / "2020_hh_trials_train.pickle"
    for protocol in range(6):
        path.write_bytes(pickle.dumps([Evil()], protocol=protocol))
        with pytest.raises(ValueError, match=r"it would load posix.system, and only plain lists"):
            open_source(f"multinet:{tmp_path}/overcooked_ai", "train")
    torch.save([Evil()], path)
    with pytest.raises(ValueError, match=r"it would load posix.system"):
        read_plain_pickle(path)
    for data in (b"cpandas.core.frame\nDataFrame\n.", b"cbuiltins\neval\n.", b"\x80\x04P1\n.", b""):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="cannot be read as plain data"):
            read_plain_pickle(path)
    assert not (tmp_path / "should-not-exist").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_are_read_as_they_are(tmp_path, protocol):
    path = tmp_path / "data.pickle"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = {"a": [1, 2.5, None, True, "x", b"\xff\x00"], "s": np.float64(2.5), "n": np.int8(3)}
    arrays = [array, array.T, array[::2], np.array(["a", "bc"]), np.zeros(0, np.uint8)]
    path.write_bytes(pickle.dumps([values, *arrays], protocol=protocol))
    read, *back = read_plain_pickle(path)
    assert read == values
    for one, other in zip(back, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_folder_stands_for_all_that_is_in_it(root, tmp_path):
    names = expanded(f"multinet:{root}/?size_px=32")
    assert [name.partition("?")[2] for name in names] == ["size_px=32"] * 6
    assert [name.partition("?")[0].rpartition("/")[2] for name in names] == [
        "overcooked_ai", "piqa", "odinw", "sqa3d", "robot_vqa", "bfcl"
    ]  # fmt: skip
    for name in names:
        assert len(open_source(name, "train")) > 2
    with pytest.raises(ValueError, match="no data set in that folder, of overcooked_ai, piqa"):
        expanded(f"multinet:{tmp_path}")


def test_mistakes_are_named(root, tmp_path):
    for name, message in [
        (f"multinet:{root}/procgen", r"no data set 'procgen', only bfcl, odinw"),
        (f"multinet:{root}/pqa", r"no data set 'pqa'; did you mean piqa\?"),
        (f"multinet:{tmp_path}/piqa", "there is no folder"),
        (f"multinet:{root}/piqa?size_px=0", "size_px must be at least 1, got 0"),
        (f"multinet:{root}/piqa?sizes=8", r"has no options \['sizes'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_source(name, "train")
    with pytest.raises(ValueError, match="split"):
        open_source(f"multinet:{root}/piqa", "test")


def test_damaged_downloads_are_named(root, tmp_path):
    subprocess.run(["cp", "-r", f"{root}/piqa", f"{root}/bfcl_v3", tmp_path], check=True)
    labels = tmp_path / "piqa/physicaliqa-train-dev/train-labels.lst"
    labels.write_text("1\n0\n")
    with pytest.raises(ValueError, match=r"train.jsonl has 10 lines, but train-labels.lst 2"):
        open_source(f"multinet:{tmp_path}/piqa", "train")
    labels.unlink()
    with pytest.raises(ValueError, match=r"holds 0 files 'train-labels.lst', not one"):
        open_source(f"multinet:{tmp_path}/piqa", "train")
    path = tmp_path / "bfcl_v3/BFCL_v3_multi_turn_base.json"
    path.write_text('{"id": \n')
    with pytest.raises(ValueError, match=r"multi_turn_base.json line 1 is no JSON"):
        open_source(f"multinet:{tmp_path}/bfcl", "train")
    path.write_text('{"question": []}\n')
    with pytest.raises(ValueError, match="not as it was downloaded: KeyError"):
        open_source(f"multinet:{tmp_path}/bfcl", "train")


def test_states_that_are_not_drawn_are_told_how_to_be(tmp_path):
    rows = [{**row, "state": '{"players": []}'} for row in overcooked_rows()]
    folder = tmp_path / "overcooked_ai/train"
    folder.mkdir(parents=True)
    (folder / "games.pickle").write_bytes(pickle.dumps(rows))
    with pytest.raises(ValueError, match=r"a state is no picture: .*processor draws the states"):
        open_source(f"multinet:{tmp_path}/overcooked_ai", "train")[0]
    (folder / "games.pickle").write_bytes(pickle.dumps([{**rows[0], "joint_action": "[1]"}]))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/other", b"")
    (folder / "games.pickle").write_bytes(archive.getvalue())
    with pytest.raises(ValueError, match="cannot be read as plain data"):
        open_source(f"multinet:{tmp_path}/overcooked_ai", "train")


@pytest.mark.parametrize("dataset", FIND)
def test_what_is_trained_on_is_what_is_seen_when_it_is_asked(root, dataset):
    name = f"multinet:{root}/{dataset}?size_px=16&max_characters=90"
    source = open_source(name, "train")
    agent = tiny_agent({name: source.spec}, context_length=512)
    download = FIND[dataset](root / FOLDERS[dataset])
    for index, item in enumerate(download.items):
        asked = download.ask(item)
        posed = pose(agent, dataset, asked.observation, asked.instruction, asked.messages)
        taught = source[index].observations
        assert set(posed.current) == set(taught)
        for path, values in taught.items():
            np.testing.assert_array_equal(posed.current[path], values[0])
        assert posed.leaf == source.spec.action_leaves["answer"]
