"""The command line as users meet it: from their own expert to a score; clear errors."""

import dataclasses
import json
import multiprocessing
import re
import subprocess
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from mugato.cli import commands, display
from mugato.cli import main as cli
from mugato.cli.demo import train_what_is_missing
from mugato.tasks.registry import TASKS
from mugato.training.run_info import read_config

pytestmark = pytest.mark.filterwarnings("ignore")
FAST = [
    "--steps", "3", "--batch-rows", "2", "--microbatches", "1", "--log-every", "1", "--no-tune",
    "--processes", "1",
    "--model.width", "32", "--model.num-layers", "1", "--model.num-heads", "1",
    "--model.head-size", "32", "--model.hidden-size", "32",
]  # fmt: skip


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a user's folder with an expert in it, and data sets of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "always_right.py").write_text("def policy(observation):\n    return 1\n")
    return tmp_path


def run(*arguments: str) -> None:
    cli.main(list(arguments))


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """Return the one line that a failing command prints."""
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.thorough
def test_a_users_environment_from_expert_to_score_and_video(capsys, working_folder):
    run("record", "--env", "CartPole-v1", "--expert", "always_right:policy", "--episodes", "4",
        "--dataset", "mine", "--workers", "1")  # fmt: skip
    run("train", "--env", "CartPole-v1", "--demonstrations", "mine", "--run", "agent", *FAST)
    run("evaluate", "agent", "--episodes", "2", "--workers", "1")
    report = json.loads((working_folder / "agent" / "report.json").read_text())
    assert report["train"]["tokens"] > 0
    assert "CartPole-v1" in json.dumps(report)
    run("play", "CartPole-v1", "--agent", "agent", "--out", "film.mp4")
    assert (working_folder / "film.mp4").stat().st_size > 1000
    capsys.readouterr()
    _check_json(capsys, report)


def _check_json(capsys: pytest.CaptureFixture, report: dict) -> None:
    """Look at what programs read: JSON alone, with every name as a command takes it."""
    run("evaluate", "agent", "--episodes", "2", "--workers", "1", "--no-videos", "--json")
    again = json.loads(capsys.readouterr().out)
    assert again["tasks"]["CartPole-v1"]["returns"] == report["tasks"]["CartPole-v1"]["returns"]
    run("data", "show", "minari:mine-v0", "--json", "--timesteps", "2")
    shown = json.loads(capsys.readouterr().out)["shown"]
    assert [[leaf["leaf"] for leaf in timestep] for timestep in shown] == 2 * [
        ["observation", "separator", "action"]
    ]
    assert shown[0][2] == {"role": "action", "leaf": "action", "tokens": [33025], "value": 1}


def test_tasks_for_a_program_have_their_whole_names(capsys):
    run("record", "list", "--json")
    assert [task["name"] for task in json.loads(capsys.readouterr().out)] == list(TASKS)
    line = fails(capsys, "record", "cartpole", "--json")
    assert line == "mugato record: --json belongs to `mugato record list`"


@pytest.mark.thorough
def test_several_trainings_are_scored_together(capsys, working_folder):
    run("record", "--env", "CartPole-v1", "--expert", "always_right:policy", "--episodes", "2",
        "--dataset", "mine", "--workers", "1")  # fmt: skip
    for seed in ("0", "1"):
        run("train", "--env", "CartPole-v1", "--demonstrations", "mine", "--run", f"runs/{seed}",
            "--seed", seed, *FAST)  # fmt: skip
    how = ("--episodes", "2", "--workers", "1", "--no-videos")
    run("evaluate", "runs/0", "runs/1", *how)
    assert "2 trainings; intervals are over the trainings" in capsys.readouterr().out
    for seed in "01":
        assert (working_folder / "runs" / seed / "report.html").is_file()
    assert "is named more than once" in fails(capsys, "evaluate", "runs/0", "runs/0", *how)
    assert "name the folder of a run" in fails(capsys, "evaluate", *how)


@pytest.mark.thorough
def test_a_reference_is_kept_where_the_user_is(capsys, working_folder, monkeypatch):
    monkeypatch.setattr("mugato.tasks.references.REFERENCES", working_folder / "shipped.json")
    run("reference", "cartpole", "--episodes", "2")
    assert "cartpole" in json.loads((working_folder / "references.json").read_text())
    assert not (working_folder / "shipped.json").exists()
    assert "references.json" in capsys.readouterr().out


def test_version_and_a_command_that_there_is_not(capsys):
    run("--version")
    assert capsys.readouterr().out == f"mugato {version('mugato')}\n"
    with pytest.raises(SystemExit) as ended:
        run("trian")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mugato: no command 'trian'; there are record, train, finetune, tune")
    assert line.endswith("; did you mean train?")


@pytest.mark.thorough
def test_a_reader_who_has_seen_enough_is_no_fault(working_folder):
    listing = "import sys; from mugato.cli.main import main; sys.argv[1:] = ['record', 'list']"
    done = subprocess.run(
        f'{sys.executable} -c "{listing}; main()" | head -n 1',
        shell=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout.split()[0], done.stderr) == ("task", "")


def test_what_takes_long_says_so_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("mugato.cli.display.SECONDS_PER_LINE", 0.0)
    with display.progress("recording") as show:
        show("cartpole", 3, 9)
    assert capsys.readouterr().err == "recording: cartpole 3/9\n"


def test_flags_that_exclude_each_other_are_not_dropped_in_silence(capsys):
    own = ("--env", "CartPole-v1", "--demonstrations", "x")
    assert "exclude each other" in fails(capsys, "train", *own, "--tasks", "acrobot")
    line = fails(capsys, "generate", "caption this", "--image", "cat.png")
    assert "a picture is captioned or asked about, with --question; got 'caption this'" in line
    assert "--question is empty" in fails(
        capsys, "generate", "--image", "cat.png", "--question", " "
    )
    assert "--max-tokens must be at least 1, got -3" in fails(
        capsys, "generate", "a", "--max-tokens", "-3"
    )


@pytest.mark.parametrize("command", [("generate", "To be"), ("play", "cartpole")])
def test_without_an_agent_those_that_there_are_are_named(command, capsys):
    with pytest.raises(SystemExit):
        run(*command)
    line = capsys.readouterr().err
    assert "there is no agent in runs/demo, for there is no such folder" in line
    assert "mugato-small" in line


def test_an_unknown_data_set_is_one_line(capsys):
    line = fails(capsys, "train", "--env", "CartPole-v1", "--demonstrations", "nothing-there")
    assert "no Minari data set 'nothing-there-v0'" in line


def test_a_preset_narrowed_to_some_tasks_forgets_the_others(capsys):
    line = fails(
        capsys, "train", "--preset", "demo", "--tasks", "cartpole", "--sources", "--processes", "1"
    )
    assert "no demonstrations of cartpole are here yet; record them: mugato record cartpole" in line


@pytest.mark.parametrize("flag", [("--sources=text:plays",), ("--sources", "text:plays")])
def test_sources_without_a_preset_are_trained_on_alone(flag, working_folder):
    (working_folder / "plays").mkdir()
    (working_folder / "plays" / "one.txt").write_text("to be or not to be, that is it. " * 99)
    run("train", *flag, "--weights", "by_tokens", "--run", "agent", *FAST)
    config = json.loads((working_folder / "agent" / "train_config.json").read_text())
    assert [dataset["name"] for dataset in config["datasets"]] == ["text:plays"]
    run("generate", "to be", "--agent", "agent", "--max-tokens", "5")


def test_a_run_goes_on_with_its_own_tokenizer_and_on_its_own_sources(working_folder, capsys):
    play, model = working_folder / "plays" / "one.txt", working_folder / "agent" / "tokenizer.model"
    play.parent.mkdir()
    play.write_text("to be or not to be, that is it. " * 99)
    run("train", "--sources", "text:plays", "--run", "agent", *FAST)
    saved = model.read_bytes()
    play.write_text("whether it is nobler in the mind to suffer slings and arrows. " * 99)
    run("train", "--run", "agent", "--resume", "--steps", "4", "--optimizer.lr", "1e-3")
    assert model.read_bytes() == saved
    state = json.loads((working_folder / "agent" / "metrics.jsonl").read_text().splitlines()[-1])
    assert state["step"] == 4
    config = json.loads((working_folder / "agent" / "train_config.json").read_text())
    assert (config["steps"], config["batch_rows"], config["optimizer"]["lr"]) == (4, 2, 1e-3)
    assert "steps 3 → 4" in capsys.readouterr().out
    others = ("--sources", "text:plays", "easy-vqa", "--run", "agent", "--resume", *FAST)
    line = fails(capsys, "train", *others)
    assert "was trained on ['text:plays'], not on ['text:plays', 'easy-vqa']" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="one process trains on a GPU")
def test_a_training_process_that_dies_is_one_line(capsys):
    def kill_one():
        until = time.monotonic() + 30
        while not (children := multiprocessing.active_children()) and time.monotonic() < until:
            time.sleep(0.05)
        for child in children[:1]:
            child.kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    line = fails(capsys, "train", "--sources", "easy-vqa", "--processes", "2", "--run", "agent")
    killer.join()
    assert "a training process died with exit code -9" in line


def test_a_run_is_not_trained_over_nor_gone_on_with_when_it_is_done(working_folder, capsys):
    (working_folder / "play.txt").write_text("to be or not to be, that is it. " * 99)
    command = ("train", "--sources", "text:play.txt", "--run", "agent", *FAST)
    run(*command)
    capsys.readouterr()
    assert "agent holds a run: --resume goes on with it, --over" in fails(capsys, *command)
    done = fails(capsys, "train", "--resume", "--run", "agent")
    assert "nothing left to do in agent: steps reached (3 of 3); raise --steps" in done
    other = fails(capsys, "train", "--resume", "--run", "agent", "--microbatches", "2")
    assert "cannot resume agent: microbatches was 1, not 2; that takes a new run" in other
    run(*command, "--overwrite")
    assert "nowhere holds no run" in fails(capsys, "train", "--resume", "--run", "nowhere")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("train", "--tasks", "cartpol"), "did you mean cartpole?"),
        (("train", "--sources", "shakespear"), "did you mean shakespeare?"),
    ],
)
def test_a_misspelt_name_is_said_at_once_with_the_one_that_was_meant(arguments, hint, capsys):
    began = time.monotonic()
    line = fails(capsys, *arguments)
    assert hint in line and len(line) < 200 and time.monotonic() - began < 3


def test_the_demo_goes_on_where_it_stopped_and_trains_nothing_twice(working_folder, capsys):
    (working_folder / "play.txt").write_text("to be or not to be, that is it. " * 99)
    run("train", "--sources", "text:play.txt", "--run", "agent", *FAST)
    config, model = read_config(Path("agent")), working_folder / "agent" / "model.safetensors"
    before = model.stat().st_mtime_ns
    train_what_is_missing(config)
    assert model.stat().st_mtime_ns == before
    assert "is trained; --overwrite trains it anew" in capsys.readouterr().out
    train_what_is_missing(dataclasses.replace(config, steps=4))
    assert "Trained 4 steps" in capsys.readouterr().out
    with pytest.raises(ValueError, match="seed was 0, not 1; that takes a new run"):
        train_what_is_missing(dataclasses.replace(config, seed=1))
    train_what_is_missing(dataclasses.replace(config, seed=1), overwrite=True)


def test_an_unknown_preset_lists_the_presets(capsys):
    assert "there are demo," in fails(capsys, "train", "--preset", "demmo")


def test_a_folder_without_agent_is_one_line(capsys, tmp_path):
    assert "no mugato checkpoint" in fails(capsys, "generate", "hello", "--agent", str(tmp_path))


def test_an_unknown_task_names_close_ones(capsys):
    assert "cartpole" in fails(capsys, "record", "cartpol")


def test_env_without_expert_says_what_is_missing(capsys):
    assert "--expert" in fails(capsys, "record", "--env", "CartPole-v1")


def test_an_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        run("train", "--preset", "demo", "--model.widht", "3")
    assert ended.value.code == 2
    assert "--model.widht" in capsys.readouterr().err


def test_without_a_command_all_are_listed(capsys):
    with pytest.raises(SystemExit):
        run()
    shown = capsys.readouterr().out
    assert all(f"mugato {name}" in shown for name in commands.COMMANDS)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_commands_are_listed_by_what_they_say_of_themselves(name):
    assert (commands.command(name).__doc__ or "").splitlines()[0] == commands.COMMANDS[name]


def test_what_there_is_shows_without_loading_what_takes_long():
    code = (
        "import sys, mugato.cli.main as m, mugato.cli.commands; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_info_tells_what_is_installed_and_what_is_not(capsys, monkeypatch):
    def installed(name: str) -> str:
        if name == "minigrid":
            raise PackageNotFoundError
        return version(name)

    monkeypatch.setattr("mugato.cli.info.version", installed)
    run("info", "--json")
    found = json.loads(capsys.readouterr().out)
    assert "[babyai] lacks minigrid" in found["without"] and "box2d" in found["extras"]
    assert f"torch {torch.__version__}" in found["packages"]
    run("info")
    assert "lacks minigrid" in capsys.readouterr().out


def test_an_error_is_shown_as_it_is_brackets_and_all(capsys, monkeypatch):
    def broken(name: str) -> None:
        raise ImportError(f"pip install 'mugato[report]' [/tmp/{name}]")

    monkeypatch.setattr("mugato.cli.play.play", broken)
    line = fails(capsys, "play", "--name", "x")
    assert line == "mugato play: pip install 'mugato[report]' [/tmp/x]"


def test_help_of_training_shows_the_usual_flags_and_how_to_see_all(capsys):
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as ended:
            run("train", "--preset", "small", flag)
        assert not ended.value.code
        shown[flag] = capsys.readouterr().out
    assert "--max-tokens" in shown["--help"] and "runs/small" in shown["--help"]
    assert "--help-all" in shown["--help"] and "--model.head-size" not in shown["--help"]
    flags = set(re.findall(r"--[a-z.-]+", shown["--help-all"]))
    assert {"--max-tokens", "--model.head-size", "--optimizer.lr", "--shards"} <= flags


def test_what_a_run_would_take_is_told_without_beginning_one(tmp_path, capsys):
    run("train", "--preset", "large", "--run", str(tmp_path / "run"), "--dry-run")
    shown = " ".join(capsys.readouterr().out.split())
    assert "1,178.2 M parameters" in shown and "TFLOP/s reached" in shown
    assert not (tmp_path / "run").exists()
