"""`mugato compare`: two evaluations side by side."""

from pathlib import Path
from typing import Annotated

import tyro

from mugato.cli import display


def compare(
    first: Annotated[Path, tyro.conf.Positional],
    second: Annotated[Path, tyro.conf.Positional],
    *,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Show two evaluations side by side, with paired intervals of the difference.

    Args:
        first: folder of a run that was evaluated, or its report.json.
        second: another; the change is the second's score less the first's.
        out: also write a page (compare.html).
        json: for a program.
    """
    from mugato.evaluation.comparison import compare as compare_runs
    from mugato.reports.render import comparison_html, comparison_markdown, write_text

    found = compare_runs(first, second)
    if json:
        display.print_json(found.to_json())
    else:
        text = comparison_markdown(found)
        display.console.print(text, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, comparison_html(found))
        display.progress_console.print(f"The page is in [bold]{out}[/bold]")
