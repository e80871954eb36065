"""What the command line shows: progress, tables, and JSON for programs."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

# A file or a pipe is wide enough for every name: what is cut cannot be given back to a command.
PIPED_COLUMNS = 160
PERCENT = 100  # a total that is no number of things
SECONDS_PER_LINE = 10.0  # between two lines on what is under way, without a terminal

T = TypeVar("T")
ShowProgress = Callable[[str, int, int], None]


def _width() -> int | None:
    """Return how wide the output is; None where the terminal says."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS


# Results go to the standard output, what is on the way to them to the standard error.
console = Console(width=_width())
progress_console = Console(stderr=True, emoji=False)


def commands(known: Mapping[str, str]) -> None:
    """Show what there is, for `mugato` without a command."""
    table = Table.grid(padding=(0, 2))
    for name, summary in known.items():
        table.add_row(f"  [bold]mugato {name}[/bold]", escape(summary))
    console.print("One generalist agent: record, train, act, evaluate. Each takes --help.\n", table)


@contextmanager
def status(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner while something takes a moment."""
    if quiet:
        yield
    elif progress_console.is_terminal:
        with progress_console.status(f"{what} ..."):
            yield
    else:
        progress_console.print(f"{what} ...")
        yield


@contextmanager
def progress(what: str, *, transient: bool = False) -> Iterator[ShowProgress]:
    """Show a bar, which is told (what is at work, done, of how many); without a terminal lines.

    Args:
        transient: leave nothing behind on a terminal.
    """
    if not progress_console.is_terminal:
        yield _Lines(what)
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.fields[how_far]}"), TimeRemainingColumn(),
    )  # fmt: skip
    to_terminal = sys.stdout.isatty()  # what is printed beside goes above the bar, unless piped
    with Progress(
        *columns, console=progress_console, transient=transient, redirect_stdout=to_terminal
    ) as bar:
        bar_id = bar.add_task(what, total=None, how_far="")

        def show(part: str, done: int, total: int) -> None:
            text = f"{what}: {part}" if part else what
            bar.update(
                bar_id, description=text, completed=done, total=total, how_far=_how_far(done, total)
            )

        yield show


def tracked(items: Sequence[T], what: str) -> Iterator[T]:
    """Go through items and show how far it is."""
    with progress(what, transient=True) as show:
        for done, item in enumerate(items):
            show("", done, len(items))
            yield item


class Pace:
    """Says when another line is due, where there is no terminal."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last line is long enough ago; if so this is the last line."""
        if (now := time.monotonic()) - self._last < SECONDS_PER_LINE:
            return False
        self._last = now
        return True


class _Lines:
    """Tells a file or a pipe from time to time how far it is."""

    def __init__(self, what: str) -> None:
        self._what, self._pace = what, Pace()

    def __call__(self, part: str, done: int, total: int) -> None:
        if self._pace.due():
            text = f"{self._what}: {part}" if part else self._what
            progress_console.print(
                f"{text} {_how_far(done, total)}", highlight=False, soft_wrap=True
            )


def _how_far(done: int, total: int) -> str:
    return f"{done} %" if total == PERCENT else f"{done}/{total}"


def print_json(value: Any) -> None:
    """Write what a program is to read: JSON alone on the standard output."""
    print(json.dumps(value, indent=1, default=str))
