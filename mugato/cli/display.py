"""What the command line shows while it works: progress bars, tables, time left."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

# A file or a pipe is wide enough for every name: what is cut cannot be given back to a command.
PIPED_COLUMNS = 160


def _width() -> int | None:
    """Return how wide the output is; None where the terminal says."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS


console = Console(width=_width())


def commands(known: Mapping[str, Callable]) -> None:
    """Show what there is, for `mugato` without a command."""
    table = Table.grid(padding=(0, 2))
    for name, function in known.items():
        table.add_row(f"  [bold]mugato {name}[/bold]", (function.__doc__ or "").splitlines()[0])
    console.print("One generalist agent: record, train, act, evaluate. Each takes --help.\n", table)


@contextmanager
def status(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Show a spinner while something takes a moment."""
    if quiet or not console.is_terminal:
        if not quiet:
            console.print(f"{what} ...")
        yield
        return
    with console.status(f"{what} ..."):
        yield


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar, which is told (what is at work, done, of how many)."""
    with bar() as shown:
        bar_id = shown.add_task(what, total=None)

        def show(part: str, done: int, total: int) -> None:
            shown.update(bar_id, description=f"{what}: {part}", completed=done, total=total)

        yield show


def bar() -> Progress:
    """Return a bar with a count and the time left."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(), console=console,
    )  # fmt: skip
