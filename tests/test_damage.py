"""Every file that the package reads, damaged in every way: one line with its name, nothing lost."""

import hashlib
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch

pytest.importorskip("datasets")
pytest.importorskip("av")

import datasets
from datasets import Image, Value
from huggingface_hub import constants

from mugato.cli import main as cli
from mugato.data.registry import open_source
from mugato.evaluation.results import save_json
from mugato.recording.recorder import RecordConfig
from mugato.recording.recorder import record as record_task
from mugato.tasks.gymnasium_task import gymnasium_task
from tests.cli.test_cli import FAST
from tests.data.formats.hub_files import png, write_jat, write_parquet, write_readme
from tests.data.formats.lerobot_files import Files
from tests.evaluation.test_comparison import report

pytestmark = pytest.mark.filterwarnings("ignore")

WIDE = int(os.environ.get("MUGATO_DAMAGES", "20"))
RNG = np.random.default_rng(0)
PICTURES = [png(RNG.integers(256, size=(24, 32, 3), dtype=np.uint8)) for _ in range(3)]
CAPTIONS = ["a red ball", "a blue key", "a green box"]
PLAY = "to be or not to be, that is it. " * 99
RECORD = ("record", "--env", "all_spaces:AllSpaces-v0", "--expert", "all_spaces:expert",
          "--episodes", "4", "--dataset", "mine", "--workers", "1")  # fmt: skip
TRAIN = ["train", "--env", "CartPole-v1", "--demonstrations", "mine", "--sources", "text:play.txt",
         *FAST, "--run", "run", "--processes", "1"]  # fmt: skip
RESUME = ["train", "--resume", "--run", "run", "--steps", "4", "--no-tune"]


# What damages a file.


def half(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + rng.randrange(9)])


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def text(path: Path, rng: random.Random) -> None:
    path.write_text("This is no such file.\nIt is a letter.\n" * 9)


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"\xff\x00" + rng.randbytes(path.stat().st_size))


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 16] = bytes(byte ^ 0xFF for byte in data[start : start + 16])
    path.write_bytes(data)


def one_bit(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path, rng: random.Random) -> None:
    path.unlink()


def renamed(path: Path, rng: random.Random) -> None:
    path.rename(path.with_name(f"{path.name}.bak"))


def other_json(path: Path, rng: random.Random) -> None:
    path.write_text(rng.choice(["[1, 2]\n", "null\n", "3\n", '"text"\n', "{}\n"]))


def other_value(path: Path, rng: random.Random) -> None:
    """Put a value of another type in the place of one within."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    data = json.loads(lines[number])
    holder, key = rng.choice(list(places(data)))
    holder[key] = another(holder[key], rng)
    lines[number] = json.dumps(data)
    path.write_text("\n".join(lines) + "\n")


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key in data if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from places(data[key])


def another(value: Any, rng: random.Random) -> Any:
    choices = [[], {}, "x", None, 7, True, [[1]], {"a": 1}, -0.5]
    return rng.choice([other for other in choices if type(other) is not type(value)])


DAMAGES = {f.__name__: f for f in (half, empty, text, noise, flip, one_bit, folder, gone, renamed)}
JSON_DAMAGES = {**DAMAGES, "other_json": other_json, "other_value": other_value}
# The rest costs more than it finds where tests are to be quick.
QUICK = ("half", "text", "gone", "other_value")
RANDOM = ("half", "flip", "one_bit", "other_json", "other_value")


# What is damaged.


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Valid input that a command reads.

    Attributes:
        make: writes it into the working folder.
        command: reads all of it.
        files: each is damaged.
        values: of what the command said, once it has succeeded: what it read or made.
    """

    make: Callable[[], Any]
    command: tuple[str, ...]
    files: tuple[str, ...]
    values: Callable[[str], Any]


def source(make, name: str, *files: str, split: str = "train") -> Sample:
    return Sample(
        make=make, command=("data", "check", name, "--split", split), files=files,
        values=lambda said: contents(name, split),
    )  # fmt: skip


def contents(name: str, split: str) -> str:
    found, digest = open_source(name, split), hashlib.sha256()
    for i in range(len(found)):
        episode = found[i]
        for path, values in {**episode.observations, **episode.actions}.items():
            digest.update(path.encode() + repr(values.tolist()).encode())
        digest.update(episode.rewards.tobytes())
    return digest.hexdigest()


def write(path: str, data: str | bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data.encode() if isinstance(data, str) else data)


def write_texts() -> None:
    write("notes/a.txt", "To be or not to be, that is it.\n\nWhether it is nobler. " * 9)
    write("notes/b.md", "A horse, a horse. " * 9)


def write_images(metadata: str | None = None) -> None:
    for i, data in enumerate(PICTURES):
        write(f"pictures/{i}.png", data)
        if metadata is None:
            write(f"pictures/{i}.txt", CAPTIONS[i])
    rows = [{"file_name": f"{i}.png", "text": text} for i, text in enumerate(CAPTIONS)]
    if metadata == "metadata.jsonl":
        write("pictures/metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if metadata == "metadata.csv":
        lines = ["file_name,text", *(f"{row['file_name']},{row['text']}" for row in rows)]
        write("pictures/metadata.csv", "\n".join(lines) + "\n")


def write_captions() -> None:
    columns = {"image": [{"bytes": data, "path": None} for data in PICTURES], "text": CAPTIONS}
    write_parquet(Path("hub/all"), {"train": columns}, {"image": Image(), "text": Value("string")})
    write_readme(Path("hub"), ["all"], ["train"])


def write_rows(suffix: str) -> None:
    table = datasets.Dataset.from_dict({"text": CAPTIONS * 9, "number": list(range(27))})
    path = f"rows.{suffix}"
    match suffix:
        case "jsonl":
            table.to_json(path)
        case "csv":
            table.to_csv(path, index=False)
        case "parquet":
            table.to_parquet(path)
        case "arrow":
            table.save_to_disk("whole")
            Path("whole/data-00000-of-00001.arrow").rename(path)
            shutil.rmtree("whole")
        case "txt":
            write(path, "\n".join(CAPTIONS * 9))


def write_robot() -> None:
    files = Files(Path("robot"))
    states = files.columns["observation.state"]
    files.columns["observation.state"] = [[e, t, 3] for e, t, _ in states]  # tokens keep them
    files.write()


def write_reach() -> None:
    n = (5, 1, 3)
    write_jat(Path("jat"), "metaworld-reach", {
        "continuous_observations": [RNG.normal(size=(i, 39)).tolist() for i in n],
        "continuous_actions": [RNG.normal(size=(i, 4)).tolist() for i in n],
        "rewards": [[0.25] * i for i in n],
    })  # fmt: skip


def run(*arguments: str) -> None:
    cli.main(list(arguments))


def record() -> None:
    run(*RECORD)


def record_a_part() -> None:
    def stop(kept: int, dropped: int) -> None:
        if kept == 2:
            raise KeyboardInterrupt

    task = gymnasium_task("all_spaces:AllSpaces-v0", expert="all_spaces:expert")
    config = RecordConfig(episodes=4, dataset="mine", workers=1)
    with pytest.raises(KeyboardInterrupt):
        record_task(task, config, on_progress=stop)


def recorded(said: str) -> bytes:
    return Path(MINARI, "main_data.hdf5").read_bytes()


def train() -> None:
    write("always_right.py", "def policy(observation):\n    return 1\n")
    run("record", "--env", "CartPole-v1", "--expert", "always_right:policy", "--episodes", "4",
        "--dataset", "mine", "--workers", "1")  # fmt: skip
    write("play.txt", PLAY)
    run(*TRAIN)


def weights(said: str) -> dict[str, list]:
    tensors = safetensors.torch.load_file("run/model.safetensors")
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def scores(said: str) -> Any:
    tasks = json.loads(Path("run/report.json").read_text())["tasks"]
    return {name: row["returns"] for name, row in tasks.items()}


def write_reports() -> None:
    for name, shift in (("one", 0.0), ("two", 1.0)):
        Path(name).mkdir()
        found = report((np.arange(40.0) % 7 + shift).tolist(), run=name)
        save_json(Path(name) / "report.json", found.to_json())


MINARI, META = "minari/mine-v0/data", "robot/meta"
CHUNK = "chunk-000/file-000"
STORE = "minari/.mine-v0.unfinished"
SAMPLES = {
    "text": source(
        write_texts, "text:notes", "notes/a.txt", split="all",
    ),
    "images-txt": source(
        write_images, "images:pictures", "pictures/1.png", "pictures/1.txt", split="all",
    ),
    "images-jsonl": source(
        lambda: write_images("metadata.jsonl"), "images:pictures", "pictures/metadata.jsonl",
        split="all"
    ),
    "images-csv": source(
        lambda: write_images("metadata.csv"), "images:pictures", "pictures/metadata.csv",
        split="all"
    ),
    "minari": source(
        record, "minari:mine", f"{MINARI}/main_data.hdf5", f"{MINARI}/metadata.json"
    ),
    "lerobot": source(
        write_robot, "lerobot:robot", f"{META}/info.json",
        f"{META}/stats.json", f"{META}/tasks.parquet", f"{META}/episodes/{CHUNK}.parquet",
        f"robot/data/{CHUNK}.parquet", f"robot/videos/observation.images.top/{CHUNK}.mp4"
    ),
    "hub-captions": source(
        write_captions, "hf-captions:hub/all", "hub/all/train-00000-of-00001.parquet",
        "hub/README.md"
    ),
    **{
        f"hub-{suffix}": source(
            lambda suffix=suffix: write_rows(suffix), f"hf-text:rows.{suffix}", f"rows.{suffix}"
        )
        for suffix in ("jsonl", "csv", "parquet", "arrow", "txt")
    },
    "jat": source(
        write_reach, "jat:jat/metaworld-reach", "jat/metaworld-reach/train-00000-of-00001.parquet",
        "jat/README.md"
    ),
    "resume": Sample(
        make=train, command=tuple(RESUME), values=weights,
        files=("run/train_config.json", "run/training_state.safetensors", "run/config.json",
               "run/tokenizer.model", "run/metrics.jsonl", "run/model.safetensors",
               f"{MINARI}/main_data.hdf5", "play.txt"),
    ),
    "evaluate": Sample(
        make=train, values=scores,
        command=("evaluate", "run", "--episodes", "1", "--workers", "1", "--no-videos",
                 "--tasks", "CartPole-v1"),
        files=("run/train_config.json", "run/config.json", "run/tokenizer.model",
               "run/metrics.jsonl", "run/model.safetensors"),
    ),
    "generate": Sample(
        make=train, values=str.strip,
        command=("generate", "to be", "--agent", "run", "--max-tokens", "3"),
        files=("run/config.json", "run/tokenizer.model", "run/model.safetensors"),
    ),
    "play": Sample(
        make=train, values=str.strip,
        command=("play", "CartPole-v1", "--agent", "run", "--out", "film.mp4"),
        files=("run/train_config.json", "run/config.json"),
    ),
    "record": Sample(
        make=record_a_part, command=RECORD, values=recorded, files=(STORE,),
    ),
    "compare": Sample(
        make=write_reports, values=str.strip,
        command=("compare", "one", "two"), files=("one/report.json", "two/report.json"),
    ),
}  # fmt: skip


# What a format cannot show, by suffix: it keeps no checksum, or what is left of it is as good.
NO_CHECKSUM = ("flip", "one_bit")
BLIND = {
    ".txt": (*NO_CHECKSUM, "half", "text", "folder", "gone", "renamed"),  # of several, or shorter
    ".csv": (*NO_CHECKSUM, "half"),
    ".jsonl": (*NO_CHECKSUM, "half", "other_value", "folder", "gone", "renamed"),
    ".json": (*NO_CHECKSUM, "other_value"),  # what may hold anything
    ".md": NO_CHECKSUM,
    ".png": NO_CHECKSUM,  # in what is no pixel
    ".hdf5": NO_CHECKSUM,  # in arrays that are too small to be compressed
    ".parquet": NO_CHECKSUM,  # which the writers leave out
    ".arrow": NO_CHECKSUM,
    ".mp4": (*NO_CHECKSUM, "half"),
    ".model": (),  # as of safetensors, a checksum is kept of it
}
# What leaves a file as it should be, or none: then one beside it may be named, or their folder.
AMBIGUOUS = (*NO_CHECKSUM, "folder", "gone", "renamed", "other_value")


CASES = [
    (name, file, damage)
    for name, sample in SAMPLES.items()
    for file in sample.files
    for damage in (JSON_DAMAGES if file.endswith((".json", ".jsonl")) else DAMAGES)
]


def quick_cases() -> list:
    """Leave out what is sought more widely by the slow test, and what other commands read too."""
    cases = []
    for name, file, damage in CASES:
        files = SAMPLES[name].files[: {"resume": 5, "evaluate": 1}.get(name)]
        if damage in QUICK and file in files:
            trained = [pytest.mark.thorough] if SAMPLES[name].make is train else []
            case = (name, file, damage)
            cases.append(pytest.param(case, id="-".join(case), marks=trained))
    return cases


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own, with no hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("MINARI_DATASETS_PATH", "minari")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Make a sample once, and read it once as it should be."""

    @cache
    def made(make: Callable[[], Any]) -> Path:
        place = tmp_path_factory.mktemp("made")
        with chdir(place):
            make()
        return place

    @cache
    def read(name: str) -> tuple[Path, Any]:
        place, copy = made(SAMPLES[name].make), tmp_path_factory.mktemp("read") / "work"
        shutil.copytree(place, copy)
        with chdir(copy):
            return place, SAMPLES[name].values(said_by(name))

    return read


def said_by(name: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said):
        run(*SAMPLES[name].command)
    return said.getvalue()


def snapshot() -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in Path().rglob("*")}


def check(case: tuple[str, str, str], seed: int, intact: Callable, capfd: Any) -> bool:
    """Damage a file; tell whether that was refused, with all as it was."""
    name, file, damage = case
    place, right = intact(name)
    shutil.copytree(place, ".", dirs_exist_ok=True)
    JSON_DAMAGES[damage](Path(file), random.Random(seed))
    before = snapshot()
    capfd.readouterr()
    try:
        said = said_by(name)
    except SystemExit as ended:
        said = capfd.readouterr().err.strip().splitlines()
        lines = [line for line in said if not line.endswith(" ...")]  # what was being done
        assert (ended.code, len(lines)) == (1, 1), lines
        after = snapshot()
        if name == "record" and STORE in after:  # it goes on until it comes to what is damaged
            after[STORE] = before[STORE]
        assert after == before, lines
        names = {Path(file).name}
        if damage in AMBIGUOUS:
            names |= {Path(file).stem.strip("."), *(Path(path).name for path in before)}
        assert any(name in lines[0] for name in names), lines
        return True
    if SAMPLES[name].values(said) != right:
        assert damage in BLIND.get(Path(file).suffix, ()), "read as something else"
    return False


@pytest.mark.parametrize("case", quick_cases())
def test_a_damaged_file_is_named_in_one_line_and_nothing_is_lost(case, intact, capfd):
    check(case, 0, intact, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_many_random_damages(case, intact, capfd, tmp_path, monkeypatch):
    for seed in range(1, WIDE if case[2] in RANDOM else 2):
        (tmp_path / str(seed)).mkdir()
        monkeypatch.chdir(tmp_path / str(seed))
        check(case, seed, intact, capfd)


@pytest.mark.parametrize("damage", ["half", "text", "flip"])
def test_overwriting_begins_a_damaged_recording_anew(damage, intact):
    place, right = intact("record")
    shutil.copytree(place, ".", dirs_exist_ok=True)
    JSON_DAMAGES[damage](Path(STORE), random.Random(0))
    run(*RECORD, "--overwrite")
    assert recorded("") == right
    assert not Path(STORE).exists()
