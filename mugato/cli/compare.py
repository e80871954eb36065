"""`mugato compare`: two reports side by side."""

from pathlib import Path
from typing import Annotated

import tyro

from mugato.cli import display


def compare(
    first: Annotated[Path, tyro.conf.Positional],
    second: Annotated[Path, tyro.conf.Positional],
    *,
    out: Path | None = None,
) -> None:
    """Show two reports side by side, with paired intervals of the difference.

    Args:
        first: folder of a run that was evaluated, or its report.json.
        second: another; the change is the second's score less the first's.
        out: also write a page (compare.html).
    """
    from mugato.evaluation import comparison
    from mugato.reports import comparison as comparison_pages
    from mugato.system.files import write_whole

    reports = comparison.read_report(first), comparison.read_report(second)
    found = comparison.compare(*reports)
    names = str(first), str(second)
    text = comparison_pages.comparison_markdown(found, names=names)
    display.console.print(text, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        page = comparison_pages.comparison_html(found, reports, names)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda path: path.write_text(page, "utf-8"))
        display.console.print(f"The page is in [bold]{out}[/bold]")
