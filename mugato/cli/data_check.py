"""What `mugato data check` shows: each leaf's range, what tokens keep of it, what stands out."""

from collections.abc import Iterator

import numpy as np
from rich.markup import escape
from rich.table import Table

from mugato.cli.display import console, tracked
from mugato.data.check import SourceCheck
from mugato.data.round_trip import FEW_BINS, LeafStats
from mugato.data.source import Source
from mugato.tokens.images import image_size
from mugato.tokens.tokenizer import Tokenizer


def check(source: Source, tokenizer: Tokenizer, *, episodes: int | None = None) -> None:
    """Look at a source's episodes, or so many from all over it, and show what was found.

    Raises:
        ValueError: at the first fault; or, after all were looked at, if tokens lose values.
    """
    found = SourceCheck(source, tokenizer)
    count = len(source) if episodes is None else min(episodes, len(source))
    picked = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
    for i in tracked(picked, f"Checking {source.name}"):
        found.episode(i)
    console.print(_table(found))
    for line in _remarks(source, found, tokenizer):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(
        f"{source.name}: checked {found.episodes:,} of {len(source):,} episodes, "
        f"{found.timesteps:,} timesteps",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if lost := [f"{o.role} {o.path!r} (first in {o.beyond})" for o in found.leaves if o.saturated]:
        raise ValueError(f"{source.name}: tokens lose values of {', '.join(lost)}")


def _table(found: SourceCheck) -> Table:
    table = Table("leaf", "from", "to", "bins used", "largest error", box=None, pad_edge=False)
    for one in found.leaves:
        if one.leaf.kind == "text":
            table.add_row(f"{one.role} {one.path}", "text", "", "", "0")
            continue
        used = f"{one.used.sum():,} of {len(one.used):,}" if len(one.used) else ""
        low, high = f"{one.low.min():.7g}", f"{one.high.max():.7g}"
        table.add_row(f"{one.role} {one.path}", low, high, used, f"{one.error.max():.3g}")
    return table


def _remarks(source: Source, found: SourceCheck, tokenizer: Tokenizer) -> Iterator[str]:
    """Yield what stands out, a line each."""
    yield from source.remarks
    for one in found.leaves:
        yield from one.warnings()
        yield from one.outside()
        yield from _coarse(one)
        yield from _uniform(one)
        if (
            one.leaf.kind == "image"
            and tokenizer.image.resized(size := image_size(one.leaf)) != size
        ):
            yield f"{one.role} {one.path!r} is shrunk, so that its pixels could not be compared"
    for index, first in list(found.duplicates.items())[:1]:
        yield (
            f"{len(found.duplicates)} episodes are like an earlier one: episode {index} like "
            f"episode {first}"
        )


def _coarse(one: LeafStats) -> Iterator[str]:
    """Yield a remark on elements that few bins tell apart, where others of the leaf take many."""
    few = [i for i, steps in enumerate(one.steps) if steps < FEW_BINS]
    if one.leaf.kind == "continuous" and one.leaf.size > 1 and few and not one.saturated:
        i = few[0]
        yield (
            f"{one.role} {one.path!r}: {len(few)} of {one.leaf.size} elements are hardly told "
            f"apart; element {i} is from {one.low[i]:.7g} to {one.high[i]:.7g}, which gives about "
            f"{one.steps[i]:.1f} steps"
        )


def _uniform(one: LeafStats) -> Iterator[str]:
    """Yield remarks on what is always the same, and on pictures of one color."""
    if one.values and one.leaf.kind != "text" and (one.low == one.high).all():
        yield f"{one.role} {one.path!r} never changes"
    for name, (t, value) in list(one.uniform.items())[:1]:
        yield (
            f"{one.role} {one.path!r} has pictures of one color in {len(one.uniform)} episodes: "
            f"{name}, timestep {t} is all {value:g}"
        )
