"""The table of references as a page of Markdown."""

from collections.abc import Mapping
from itertools import groupby

from mugato.tasks.references import Play, Reference
from mugato.tasks.registry import TASKS
from mugato.tasks.task import EVALUATION_SEEDS

HEAD = f"""# Tasks, and what their experts and random actions achieve

Written by `mugato reference --page docs/references.md`; not to be edited by hand. Returns are means
± standard deviations over fresh seeds from {EVALUATION_SEEDS.start:,} on, which neither
demonstrations nor the choice of an expert's gains have seen. Success is the share of seeds whose
return counts as one; a seed at which the expert gives up with an error is none, and is left out of
its mean. JAT has the tasks marked with a dot under the same name.
"""
COLUMNS = """
| task | JAT | expert | success | timesteps | random | success | seeds |
|---|---|---|---|---|---|---|---|
"""


def references_page(references: Mapping[str, Reference]) -> str:
    """One table a domain, in the order of the registry; what is not in it is left out."""
    measured = [task for task in TASKS.values() if task.name in references]
    sections = [HEAD]
    for domain, tasks in groupby(measured, key=lambda task: task.domain):
        rows = {task.name: references[task.name] for task in tasks}
        sections.append(f"\n## {domain}\n\n{_versions(rows)}\n{COLUMNS}{_rows(rows)}")
    return "".join(sections)


def _rows(references: Mapping[str, Reference]) -> str:
    return "".join(
        f"| `{name}` | {'·' if TASKS[name].jat_name else ''} | {_shown(r.by_expert)} "
        f"| {_success(name, r.by_expert)}{_gave_up(r)} | {r.by_expert.length:.0f} "
        f"| {_shown(r.by_chance)} | {_success(name, r.by_chance)} | {r.episodes} |\n"
        for name, r in references.items()
    )


def _shown(play: Play) -> str:
    return f"{play.mean:.4g} ± {play.std:.2g}"


def _success(name: str, play: Play) -> str:
    return "–" if TASKS[name].failure_return is None else f"{play.success:.0%}"


def _gave_up(reference: Reference) -> str:
    return f" (gave up at {reference.gave_up})" if reference.gave_up else ""


def _versions(references: Mapping[str, Reference]) -> str:
    versions = sorted({f"{k} {v}" for r in references.values() for k, v in r.versions.items()})
    return f"Measured with {', '.join(versions)}."
