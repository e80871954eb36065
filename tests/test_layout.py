"""Rooms import from the rooms below them only, and say what they are for."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mugato"
# From the bottom up; a room may import from its own row and from those before it.
ROWS = [
    {"system"},
    {"spec", "episode"},
    {"tokens"},
    {"model", "data"},
    {"agent"},
    {"tasks", "acting"},
    {"recording", "training"},
    {"evaluation"},
    {"reports"},
    {"cli", "multinet", "__init__", "__main__"},
]
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
SIBLINGS = {("model", "data"), ("tasks", "acting"), ("recording", "training")}
MAX_LOOSE_FILES = 5
FILES = sorted(ROOT.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(file: Path) -> list[str]:
    """Name every module of ours that a file imports."""
    modules = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = [f"mugato.{alias.name}" for alias in node.names]
            modules += named if node.module == "mugato" else [node.module]
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return [module for module in modules if module.split(".")[0] == "mugato"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file):
    for module in imported_modules(file):
        assert module != "mugato", f"{file} imports the package's front"
        here, there = room_of(file), module.split(".")[1]
        assert ROW[there] <= ROW[here], f"{file} imports {module}"
        assert (here, there) not in SIBLINGS, f"{file} imports {module}"
        assert (there, here) not in SIBLINGS, f"{file} imports {module}"


def test_few_files_lie_loose():
    assert len([*ROOT.glob("*.py")]) <= MAX_LOOSE_FILES
