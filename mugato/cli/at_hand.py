"""A run's folder by what the user calls it: their own, or an agent that comes with the package."""

import shutil
from pathlib import Path

from mugato.agent import shipped_agent
from mugato.cli import display

RUNS = Path("runs")


def at_hand(run: Path) -> Path:
    """Return a folder that can be written into; a shipped agent is copied into the user's runs.

    Raises:
        OSError: if there is no room for it.
    """
    shipped = shipped_agent(run)
    if shipped is None:
        return run
    folder = RUNS / run
    if not folder.exists():
        beside = RUNS / f".{run}"
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(shipped, beside)
        beside.rename(folder)
        display.progress_console.print(f"{run} comes with mugato; its copy is in {folder}")
    return folder
