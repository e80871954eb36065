"""Draw the rooms of mugato and who imports whom as docs/rooms.svg.

Run `python docs/draw_rooms.py` after a room has changed; a test holds the picture against the code.
"""

import ast
import re
from html import escape
from itertools import product
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parents[1] / "mugato"
PICTURE = Path(__file__).with_name("rooms.svg")

# From the top down: a room imports from the rows below its own only.
ROWS = [
    ["cli"],
    ["reports", "corrections"],
    ["evaluation"],
    ["recording", "acting", "training"],
    ["tasks", "", ""],
    ["", "data", "agent"],
    ["", "", "model"],
    ["tokens"],
    ["episode", "spec_json"],
    ["spec"],
    ["system"],
]
# Doors that import rooms for the user and are imported by nobody.
DOORS = ["__init__", "__main__", "multinet"]

WIDTH, BOX, HEIGHT, GAP = 1000, 300, 52, 28


def room_of(file: Path) -> str:
    """Name the room that a file lies in; a loose file is a room of its own."""
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


def imports() -> dict[str, set[str]]:
    """Return for each room the rooms that it imports from."""
    found: dict[str, set[str]] = {room: set() for row in ROWS for room in row if room}
    for file in ROOT.rglob("*.py"):
        if (room := room_of(file)) in found:
            found[room] |= {module.split(".")[1] for module in imported_modules(file)} - {room}
    return found


def shown_arrows(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Leave out the arrows that follow from others: A to C where A reaches B and B reaches C."""

    def reached(room: str) -> set[str]:
        return found[room].union(*(reached(below) for below in found[room]))

    return [
        (room, below)
        for room in found
        for below in sorted(found[room])
        if not any(below in reached(other) for other in found[room] - {below})
    ]


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    file = ROOT / room / "__init__.py"
    file = file if file.is_file() else ROOT / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = docstring.split("\n\n")[0].replace("\n", " ")
    return re.sub(r" \(.*?\)", "", first).rstrip(".")


def draw() -> str:
    """Return the picture as SVG."""
    places = {}
    for number, row in enumerate(ROWS):
        for column, room in enumerate(row):
            if not room:
                continue
            x = WIDTH * (2 * column + 1) / (2 * len(row)) - BOX / 2
            places[room] = (x, 10 + number * (HEIGHT + GAP))
    parts = [_arrow(places[a], places[b]) for a, b in shown_arrows(imports())]
    parts += [_box(room, *place) for room, place in places.items()]
    height = 20 + len(ROWS) * (HEIGHT + GAP) - GAP
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _box(room: str, x: float, y: float) -> str:
    """Draw a room with its name and purpose."""
    loose = not (ROOT / room).is_dir()
    name = f"{room}.py" if loose else f"{room}/"
    fill = "#fff8e6" if loose else "#eaf2fb"
    lines = "".join(
        f'<text x="{x + BOX / 2:g}" y="{y + 31 + 13 * number:g}" text-anchor="middle" '
        f'font-size="10.5" fill="#345">{escape(line)}</text>'
        for number, line in enumerate(wrap(purpose(room), 50)[:2])
    )
    return (
        f'<g><rect x="{x:g}" y="{y:g}" width="{BOX}" height="{HEIGHT}" rx="6" fill="{fill}" '
        f'stroke="#456"/><text x="{x + BOX / 2:g}" y="{y + 16:g}" text-anchor="middle" '
        f'font-size="14" font-weight="bold" fill="#123">{name}</text>{lines}</g>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Draw an arrow between the sides of two boxes that leave the most room for it."""
    sides = [BOX * share for share in (0.2, 0.5, 0.8)]
    a, b = min(
        product(sides, sides),
        key=lambda s: (abs(start[0] + s[0] - end[0] - s[1]), abs(s[0] - BOX / 2)),
    )
    return (
        f'<line x1="{start[0] + a:g}" y1="{start[1] + HEIGHT:g}" x2="{end[0] + b:g}" '
        f'y2="{end[1]:g}" stroke="#777" stroke-width="1.3" marker-end="url(#tip)"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
    print(PICTURE)
