"""Rooms import from the rooms below them only, say what they are for, and stay livable."""

import ast
import importlib.util
import statistics
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_found = importlib.util.spec_from_file_location("draw_rooms", DOCS / "draw_rooms.py")
assert _found and _found.loader
rooms = importlib.util.module_from_spec(_found)
_found.loader.exec_module(rooms)

FILES = sorted(rooms.ROOT.rglob("*.py"))
INITS = [file for file in FILES if file.name == "__init__.py" and file.parent != rooms.ROOT]
ROW = {room: number for number, row in enumerate(rooms.ROWS) for room in row}
MAX_LOOSE_FILES = 5  # beside the package's front and its two doors
MAX_FUNCTION_LINES, MAX_PARAMETERS, MIN_MEDIAN_LINES = 40, 7, 120


def name_of(file: Path) -> str:
    return str(file.relative_to(rooms.ROOT))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down(file):
    here = rooms.room_of(file)
    for module in rooms.imported_modules(file):
        assert module != "mugato", f"{file} imports the package's front"
        there = module.split(".")[1]
        assert there not in rooms.DOORS, f"{file} imports a door"
        if here not in rooms.DOORS:
            assert there == here or ROW[there] > ROW[here], f"{file} imports {module}"


def test_the_picture_of_the_rooms_is_true():
    assert rooms.PICTURE.read_text() == rooms.draw(), "run python docs/draw_rooms.py"


def test_few_files_lie_loose():
    loose = {file.stem for file in rooms.ROOT.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= MAX_LOOSE_FILES, loose


@pytest.mark.parametrize("file", INITS, ids=name_of)
def test_a_room_says_what_it_is_for_what_it_does_not_know_and_where_to_start(file):
    tree = ast.parse(file.read_text())
    docstring = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1, "a room's __init__ holds its docstring alone"
    assert docstring.partition("\n")[0].strip()
    assert any(said in docstring for said in ("not know", "knows nothing", "computes none"))
    assert "`" in docstring, "name the file where to start"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_functions_are_short_and_take_few_parameters(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
            where = f"{name_of(file)}: {node.name}"
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, where
            assert len([n for n in names if n not in ("self", "cls")]) <= MAX_PARAMETERS, where


def test_ideas_are_not_cut_in_pieces():
    lengths = [len(file.read_text().splitlines()) for file in FILES if file.name != "__init__.py"]
    assert statistics.median(lengths) >= MIN_MEDIAN_LINES
