"""Imports point down only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mugato"
# From the bottom up; a room may import from its own row and from those before it.
ROWS = [
    {"vocab", "disk", "errors", "processes"},
    {"spec", "episode"},
    {"tokenizers"},
    {"timesteps"},
    {"sequence"},
    {"batch"},
    {"model", "data"},
    {"agent", "precision"},
    {"tasks"},
    {"training"},
    {"sampling", "decoding", "prompt", "agreement", "rows", "policy", "generate"},
    {"evaluation", "multinet", "multinet_posing", "multinet_requests"},
    {"cli", "commands", "data_pictures", "data_view", "display", "presets", "__init__", "__main__"},
]
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
SIBLINGS = {("model", "data"), ("data", "model")}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file):
    for node in ast.walk(ast.parse(file.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "mugato":
                modules = [f"mugato.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            if module.startswith("mugato."):
                here, there = room_of(file), module.split(".")[1]
                assert ROW[there] <= ROW[here], f"{file} imports {module}"
                assert (here, there) not in SIBLINGS, f"{file} imports {module}"
            assert module != "mugato", f"{file} imports the package's front"


def test_init_files_are_empty_but_for_the_top_one():
    assert all(not f.read_text() for f in ROOT.rglob("__init__.py") if f.parent != ROOT)
