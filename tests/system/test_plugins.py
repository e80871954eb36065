"""A user's files in a folder: found by name, in workers too; a broken one stops no other."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mugato.system.plugins import Plugins

ROOT = Path(__file__).parents[2]
GOOD = """
from dataclasses import replace
from mugato.data.language import TEXT_SPEC, document
from mugato.data.source import EpisodeList
from mugato.tasks.registry import get_task

def open_proverbs(split):
    texts = [document(f"Haste makes waste, {i} times.", name=str(i)) for i in range(20)]
    return EpisodeList(name="proverbs", spec=TEXT_SPEC, episodes=texts)

def make_env(render_mode=None):
    return get_task("cartpole").make_env(render_mode=render_mode)

def make_expert(env):
    return get_task("cartpole").make_expert(env)

known = get_task("cartpole")
TASKS = [replace(known, name="ours", domain="mine", make_env=make_env, make_expert=make_expert)]
SOURCES = {"proverbs": open_proverbs}
"""
BROKEN = {
    "broken_syntax.py": ("def f(:", "SyntaxError"),
    "broken_name.py": ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
    "broken_task.py": ("TASKS = ['cartpole']", "TASKS holds a str, not a Task"),
    "broken_twice.py": (
        "from mugato.tasks.registry import get_task\nTASKS = [get_task('cartpole')]",
        "there is a task 'cartpole' already",
    ),
    "broken_source.py": ("SOURCES = {'a': 3}", "SOURCES['a'] is a int, not a function"),
    "broken_taken.py": ("SOURCES = {'emoji': print}", "there is a source 'emoji' already"),
    "broken_empty.py": ("tasks = []", "has none of TASKS and SOURCES"),
    "json.py": ("TASKS = []", "another module is called 'json'"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/good_ours.py").write_text(GOOD)
    (tmp_path / "plugins/_helper.py").write_text("raise AssertionError")
    for name, (text, _) in BROKEN.items():
        (tmp_path / "plugins" / name).write_text(text)
    yield tmp_path / "plugins"
    for module in ("good_ours", *(name.removesuffix(".py") for name in BROKEN)):
        if module != "json":
            sys.modules.pop(module, None)


def mugato(*arguments, folder, **changes):
    names = {"MUGATO_PLUGINS": str(folder), "MINARI_DATASETS_PATH": str(folder.parent / "minari")}
    environment = {**os.environ, **names, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mugato", *arguments]
    return subprocess.run(
        command, cwd=folder.parent, env=environment, capture_output=True, text=True, **changes
    )


def test_a_task_is_listed_and_every_broken_file_named(folder):
    done = mugato("record", "list", "--json", folder=folder, check=True)
    listed = {task["name"]: task["domain"] for task in json.loads(done.stdout)}
    assert listed["ours"] == "mine" and "cartpole" in listed
    for name in ("broken_syntax.py", "broken_name.py", "broken_task.py", "broken_twice.py"):
        (line,) = [line for line in done.stderr.splitlines() if f"{folder / name}: " in line]
        assert BROKEN[name][1] in line
    assert "_helper" not in done.stderr and "good_ours" not in done.stderr


def test_an_unknown_name_may_be_of_a_broken_file(folder):
    done = mugato("train", "--sources", "proverb", folder=folder)
    assert done.returncode and "did you mean proverbs" in done.stderr
    done = mugato("record", "nothing-like-it", folder=folder)
    assert "no task 'nothing-like-it'" in done.stderr and "could not be used" in done.stderr


@pytest.mark.thorough
def test_a_task_is_recorded_by_workers_and_trained_on_beside_a_source(folder):
    for name in BROKEN:
        (folder / name).unlink()
    flags = ("--episodes", "4", "--workers", "2")
    done = mugato("record", "ours", *flags, folder=folder)
    assert done.returncode == 0, done.stderr
    done = mugato(
        "train", "--tasks", "ours", "--sources", "proverbs", "--run", "run", "--steps", "2",
        "--processes", "2", "--workers", "1", "--no-tune", "--tokenizer.text-pieces", "300",
        "--model.num-layers", "1", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tasks = json.loads((folder.parent / "run/config.json").read_text())["tasks"]
    assert list(tasks) == ["ours", "proverbs"]
    done = mugato(
        "evaluate", "run", "--episodes", "2", "--workers", "2", "--no-videos", "--json",
        folder=folder,
    )  # fmt: skip
    assert done.returncode == 0 and '"ours"' in done.stdout, done.stderr


def test_all_files_are_offered_to_all_takers_whoever_comes_first(folder, caplog):
    caplog.set_level(logging.ERROR)
    found = Plugins([folder, folder / "nowhere"])
    assert "there is no such folder" in found.faults[folder / "nowhere"]
    first, second = [], []

    def take(module):
        first.append(module.__name__)
        if len(first) == 1:  # as a file does that imports another registry
            found.offer(lambda other: second.append(other.__name__))

    found.offer(take)
    whole = ["broken_source", "broken_taken", "broken_task", "broken_twice", "good_ours"]
    assert sorted(first) == sorted(second) == whole
    for name in ("broken_syntax.py", "broken_empty.py", "json.py"):
        assert BROKEN[name][1] in found.faults[folder / name]
        assert f"{folder / name}: " in caplog.text


def test_broken_sources_are_named(folder):
    code = "from mugato.data.registry import SOURCES; print(*SOURCES)"
    environment = {**os.environ, "MUGATO_PLUGINS": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "proverbs" in done.stdout.split() and "a" not in done.stdout.split()
    for name in ("broken_source.py", "broken_taken.py", "broken_empty.py", "json.py"):
        assert BROKEN[name][1] in done.stderr
