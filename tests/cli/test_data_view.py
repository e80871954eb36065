"""`mugato data`: what users see of their data, and how faults end."""

import io
import json
import re
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
from PIL import Image
from rich.console import Console

from mugato.cli import data_check, data_pictures, data_view, display
from mugato.cli import main as cli
from mugato.data.formats.text_files import open_text
from mugato.data.registry import SOURCES, open_source

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what a terminal of 140 columns with colors receives."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system="truecolor", width=140)
    for module in (data_check, data_view, display):
        monkeypatch.setattr(module, "console", console)
    return text


def plain(shown: io.StringIO) -> str:
    return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown.getvalue())


def write(dataset_id: str, *, bad: float | None = None) -> None:
    """Three episodes with pictures; `bad` stands in the second, at timestep 1."""
    buffers = []
    for length in (2, 3, 4):
        state = np.linspace(-1, 1, 2 * (length + 1), dtype=np.float32).reshape(-1, 2)
        if bad is not None and length == 3:
            state[1, 0] = bad
        buffers.append(
            EpisodeBuffer(
                observations={
                    "camera": np.full((length + 1, 16, 32, 3), 200, np.uint8),
                    "state": state,
                },
                actions=np.arange(length) % 3,
                rewards=[1.0] * length,
                terminations=[False] * (length - 1) + [True],
                truncations=[False] * length,
            )
        )
    minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=spaces.Dict(
            camera=spaces.Box(0, 255, (16, 32, 3), np.uint8), state=spaces.Box(-2, 2, (2,))
        ),
        action_space=spaces.Discrete(3),
        jpeg_encoding=False,
    )


def run(*arguments: str) -> None:
    cli.main(["data", *arguments])


@pytest.mark.thorough
def test_list_counts_what_is_there_and_says_what_is_damaged(folder, shown, monkeypatch):
    monkeypatch.setattr(data_view, "SOURCES", {"emoji": SOURCES["emoji"]})
    write("mine/robot-v0")
    write("mugato/cartpole/expert-v0")
    write("broken-v1")
    (folder / "minari/broken-v1/data/main_data.hdf5").write_bytes(b"no HDF5")
    run("list")
    text = plain(shown)
    assert re.search(r"minari:mine/robot-v0 +3 +9 +45 +14\.0 kB +\d+\.\d kB", text)
    assert "camera: image 16×32, state: 2 continuous → action: 3 discrete" in text
    assert re.search(r"^cartpole +3 +9 ", text, re.MULTILINE)  # a task's own goes by its name
    assert re.search(r"emoji +1,699 +1,699 +10,022 ", text)
    assert re.search(r"Minari data set 'broken-v1' in .* cannot be read", " ".join(text.split()))


def test_show_gives_pictures_tokens_and_decoded_values(shown, tmp_path):
    write("mine/robot-v0")
    run("show", "minari:mine/robot-v0", "--episode", "1", "--timesteps", "2")
    text = plain(shown)
    assert "3 timesteps, 15 tokens, 3 of them targets, return 3" in text
    assert data_pictures.UPPER_HALF * 32 in text and "38;2;200;200;200" in shown.getvalue()
    # One patch, two numbers, the separator and the action.
    assert (
        "1 patch " in text and "34048" in text and re.search(r"action \(target\) +33025 +1", text)
    )
    state = re.search(r"state +(\d+) (\d+) +\[(\S+) +(\S+)\]", text)
    assert state and float(state[3]) == pytest.approx(-1, abs=0.02)
    assert "timestep 1" in text and "timestep 2" not in text and "1 more timesteps" in text


def test_show_of_a_text_is_cut_and_decodes(shown, tmp_path):
    (tmp_path / "one.txt").write_text("to be or not to be\n" * 100)
    run("show", f"text:{tmp_path}/one.txt", "--split", "all", "--max-tokens", "5")
    text = plain(shown)
    assert re.search(r"298 347 442 459 298 … [\d,]+ more", text)
    assert "to be or not to be" in text and "(1,900 characters)" in text


def test_tokens_may_come_from_the_text_itself(shown, tmp_path):
    (tmp_path / "one.txt").write_text("to be or not to be\n" * 100)
    run("show", f"text:{tmp_path}/one.txt", "--split", "all", "--tokenizer.text-pieces", "290")
    assert "to be or not to be" in plain(shown)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_pictures_are_written(folder, suffix):
    write("mine/robot-v0")
    out = folder / f"film.{suffix}"
    run("show", "minari:mine/robot-v0", "--episode", "2", "--out", str(out))
    picture = Image.open(out)
    sides = (6 * 32, 6 * 16)  # enlarged until the smaller side has 96 pixels
    if suffix == "gif":
        assert picture.size == sides
    else:
        assert picture.size == (4 * sides[0] + 3 * data_pictures.GAP_PX, sides[1])
        assert picture.getpixel((10, 10)) == (200, 200, 200)


def test_a_sheet_reads_like_text(folder):
    source = open_source("easy-vqa", "test", size_px=96)
    spec = source.spec
    pair = source[0]
    many = type(pair)(
        observations={
            "image": np.concatenate([np.full((1, 96, 96, 3), t, np.uint8) for t in range(10)]),
            "question": np.array([""] * 10, dtype=object),
        },
        actions={"answer": np.array([""] * 10, dtype=object)},
    )
    data_pictures.write_pictures(folder / "sheet.png", many, spec)
    sheet = np.asarray(Image.open(folder / "sheet.png"))
    assert sheet.shape == (2 * 96 + 4, 8 * 96 + 7 * 4, 3)
    assert [sheet[50, 50 + 100 * i, 0] for i in range(8)] == list(range(8))
    assert [sheet[150, 50 + 100 * i, 0] for i in range(3)] == [8, 9, 255]


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_check_passes_what_is_sound(shown):
    write("mine/robot-v0")
    run("check", "minari:mine/robot-v0")
    assert "mine/robot-v0: checked 3 of 3 episodes, 9 timesteps" in plain(shown)


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.nan, "holds NaN"), (1e6, "tokens lose values of observation 'state'")],
)
def test_check_ends_with_1_and_names_episode_and_timestep(capsys, bad, message):
    write("mine/robot-v0", bad=bad)
    line = fails(capsys, "check", "minari:mine/robot-v0")
    assert "episode 1" in line and "at timestep 1" in line and message in line


def test_wrong_arguments_are_one_line(capsys, folder):
    write("mine/robot-v0")
    assert "no source 'emojis'" in fails(capsys, "show", "emojis")
    assert "episodes 0 to 2, no episode 9" in fails(
        capsys, "show", "minari:mine/robot-v0", "--episode", "9"
    )
    assert "no Minari data set 'mugato/cartpole" in fails(capsys, "check", "cartpole")
    assert "written as .png or .gif, not as 'a.mp4'" in fails(
        capsys, "show", "minari:mine/robot-v0", "--out", str(folder / "a.mp4")
    )
    (folder / "a.txt").write_text("text")
    assert "has no pictures" in fails(
        capsys, "show", f"text:{folder}/a.txt", "--split", "all", "--out", str(folder / "a.png")
    )


def test_a_source_opens_by_every_kind_of_id(folder):
    write("mugato/cartpole/expert-v0")
    (folder / "a.txt").write_text(json.dumps("text"))
    assert data_view.open_by_id("cartpole", "train").name == "mugato/cartpole/expert-v0"
    assert data_view.open_by_id("emoji", "test").name == "emoji"
    name = f"text:{folder}/a.txt"
    assert data_view.open_by_id(name, "all") == open_text(f"{folder}/a.txt", "all")
