"""Figures that are drawn by matplotlib: curves over what was varied, with intervals."""

from collections.abc import Sequence
from pathlib import Path

from mugato.evaluation.finetuning import Shots
from mugato.system.files import write_whole
from mugato.system.optional import require

LABELS = {"agent": "fine-tuned", "scratch": "fresh weights"}


def draw_shots(shots: Sequence[Shots], path: Path, *, title: str) -> None:
    """Draw the score, or the return, against the number of demonstrations.

    Bars are 95 % intervals over the trainings; no demonstration stands at the left end.

    Raises:
        ImportError: without matplotlib.
    """
    require("matplotlib", extra="report").use("Agg")
    from matplotlib import pyplot

    scored = all(row.scores is not None for row in shots)
    figure, axis = pyplot.subplots(figsize=(6, 4))
    for start, label in LABELS.items():
        rows = [row for row in shots if row.start == start]
        found = [row.scores if scored and row.scores else row.returns for row in rows]
        ends = [one.interval or (one.mean, one.mean) for one in found]
        below = [one.mean - low for one, (low, _) in zip(found, ends, strict=True)]
        above = [high - one.mean for one, (_, high) in zip(found, ends, strict=True)]
        if rows:
            axis.errorbar(
                [row.episodes for row in rows], [one.mean for one in found], yerr=[below, above],
                marker="o", capsize=3, label=label,
            )  # fmt: skip
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xticks(sorted({row.episodes for row in shots}))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("demonstrations")
    axis.set_ylabel("normalized score" if scored else "return")
    axis.set_title(title, fontsize=10)
    axis.legend()
    figure.tight_layout()
    write_whole(path, lambda beside: figure.savefig(beside, format="svg"))
    pyplot.close(figure)
