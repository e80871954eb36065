"""`mugato info`: what a report of a fault should say of the machine."""

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from rich.markup import escape
from rich.table import Table

from mugato.cli import display

# Extras that are made of others.
COLLECTIONS = ("all", "demo")


def info(*, json: bool = False) -> None:
    """Show versions, hardware and what is installed: for a report of a fault.

    Args:
        json: for a program.
    """
    found = facts()
    if json:
        display.print_json(found)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in found.items():
        table.add_row(f"[bold]{name}[/bold]", escape(str(value)))
    display.console.print(table)


def facts() -> dict[str, str | int | float | None]:
    """Return what there is to know, by name."""
    import torch
    from minari.storage import get_dataset_path

    from mugato.agent import shipped_agents
    from mugato.model.precision import wants_bf16
    from mugato.system.machine import describe_machine, git_commit, package_versions

    machine, packages = describe_machine(), package_versions()
    extras = missing_packages()
    missing = {extra: what for extra, what in extras.items() if what}
    bf16 = wants_bf16("auto", torch.device("cpu"))
    return {
        "mugato": version("mugato") + (f", commit {commit}" if (commit := git_commit()) else ""),
        "python": f"{machine['python']} on {platform.platform()}",
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        "bf16": "faster than fp32 here" if bf16 else "not faster than fp32 here: unused by itself",
        "gpu": machine["gpu"] or "none",
        "threads": torch.get_num_threads(),
        "packages": ", ".join(f"{name} {number}" for name, number in packages.items()),
        "extras": ", ".join(sorted(set(extras) - set(missing))) or "none",
        "without": "; ".join(
            f"[{extra}] lacks {', '.join(what)}" for extra, what in missing.items()
        )
        or "nothing",
        "demonstrations": str(get_dataset_path()),
        "agents": ", ".join(shipped_agents()),
    }


def missing_packages() -> dict[str, list[str]]:
    """Return what each extra lacks; nothing where all of it is installed."""
    found: dict[str, list[str]] = {}
    for line in requires("mugato") or ():
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if match is None or match[2] in COLLECTIONS:
            continue
        lacks = found.setdefault(match[2], [])
        try:
            version(match[1])
        except PackageNotFoundError:
            lacks.append(match[1])
    return found
