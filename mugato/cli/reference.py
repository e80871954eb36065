"""`mugato reference`: how experts and random actions do, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mugato.cli.display import console, progress
from mugato.system.errors import describe
from mugato.system.files import write_text_whole

if TYPE_CHECKING:
    from mugato.tasks.references import Reference
    from mugato.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How to measure references.

    Attributes:
        episodes: seeds per task, from 3,000,000 on, which no demonstration uses.
        workers: processes; each measures a task at a time.
        again: also tasks that were measured with the same versions and number of episodes.
        table: file to keep references in.
        package: keep them in the table that comes with mugato instead, as its developers do.
    """

    episodes: int = 50
    workers: int = 1
    again: bool = False
    table: Path = Path("references.json")
    package: bool = False


def reference(
    task: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    domain: str | None = None,
    all: bool = False,
    page: Path | None = None,
    config: Annotated[MeasureConfig, tyro.conf.arg(name="")] = MeasureConfig(),
) -> None:
    """Measure experts and random actions over fresh seeds, into a table of references.

    Examples: `mugato reference babyai-go-to-local`, `mugato reference --domain fetch`,
    `mugato reference --package --page docs/references.md`. What was measured is kept after each
    task; run the same again to go on.

    Args:
        task: tasks by name; none if only the page is to be written.
        domain: all tasks of this domain.
        all: all tasks of all domains.
        page: write the whole table as a page of Markdown there.
        config: how to measure.
    """
    from mugato.tasks.references import REFERENCES, load_references, references_page, unmeasured

    path, episodes = REFERENCES if config.package else config.table, config.episodes
    chosen = _chosen(task, domain, all, page_only=page is not None)
    due = chosen if config.again else unmeasured(chosen, load_references(path), episodes=episodes)
    faults = measure_into(path, due, episodes=episodes, workers=config.workers)
    if chosen:
        console.print(f"The references are in [bold]{path}[/bold]")
    if page is not None:
        text = references_page(load_references(path))
        write_text_whole(page, text)
    if skipped := len(chosen) - len(due):
        console.print(f"{skipped} were measured before; --again measures them anew")
    if faults:
        raise ValueError("\n".join([f"{len(faults)} of {len(due)} not measured:", *faults]))


def measure_into(path: Path, tasks: Sequence["Task"], *, episodes: int, workers: int) -> list[str]:
    """Keep each task's reference in the table at `path` once it is known; return the faults."""
    from mugato.tasks.references import load_references, measure_all, save_references

    faults = []
    with progress("measuring") as show:
        outcomes = measure_all(tasks, episodes=episodes, workers=workers)
        for done, (task, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, Exception):
                what = describe(outcome, expected=(ValueError, ImportError, ChildProcessError))
                faults.append(what if task.name in what else f"{task.name}: {what}")
            else:
                # Read again: another process may be at other tasks.
                save_references({**load_references(path), task.name: outcome}, path)
                console.print(_line(task.name, outcome), highlight=False)
            show(task.name, done, len(tasks))
    return faults


def _chosen(
    names: Sequence[str], domain: str | None, all: bool, *, page_only: bool
) -> list["Task"]:
    from mugato.tasks.registry import PACKAGES, TASKS, get_task

    if bool(names) + (domain is not None) + all != 1:
        if page_only and not names and domain is None and not all:
            return []
        raise ValueError("name either tasks, or --domain, or --all")
    if domain is not None and domain not in PACKAGES:
        raise ValueError(f"no domain {domain!r}; known are {', '.join(PACKAGES)}")
    if names:
        return [get_task(name) for name in names]
    return [task for task in TASKS.values() if all or task.domain == domain]


def _line(name: str, measured: "Reference") -> str:
    gave_up = f", gave up at {measured.gave_up}" if measured.gave_up else ""
    return (
        f"{name}: expert {measured.expert:g} ± {measured.expert_stats.std:.3g} "
        f"({measured.expert_stats.success:.0%} success{gave_up}), random {measured.random:g}"
    )
