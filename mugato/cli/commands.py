"""The commands: `mugato COMMAND`.

To add a command: one module in this room, with a function of its name, and one line below. A module
is imported when its command is called: most of them take seconds to load PyTorch.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

from rich.markup import escape

from mugato.cli import display
from mugato.system.errors import did_you_mean

# The first line of each command's docstring.
COMMANDS: Mapping[str, str] = {
    "record": "Record expert demonstrations as Minari data sets; what was interrupted goes on.",
    "train": "Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`.",
    "finetune": "Train an agent on few demonstrations of a task, beside fresh weights.",
    "tune": "Find how an agent acts best in each task, and keep that; `mugato train` does so too.",
    "evaluate": "Score an agent on fresh seeds and write report.json, report.md and report.html.",
    "play": "Let the agent act in one episode and render it as a video.",
    "generate": "Continue a text; with --image, caption the picture, or answer a --question.",
    "compare": "Show two evaluations side by side, with paired intervals of the difference.",
    "multinet-v2": "Let an agent play the mazes of MultiNet v2.0, here or in its own harness.",
    "ablate": "Score an agent without a prompt, with the right demonstration and with a wrong one.",
    "data": "Look at data: list what there is, show an episode, check all of it.",
    "reference": "Measure experts and random actions over fresh seeds, into a table of references.",
    "export": "Write an agent alone, in half the space: to publish it, or to put it on a robot.",
    "demo": "Everything in one go: record what is missing, train one agent, evaluate it.",
    "info": "Show versions, hardware and what is installed: for a report of a fault.",
}


def command(name: str) -> Callable[..., Any]:
    """Import a command."""
    name = name.replace("-", "_")
    return getattr(import_module(f"mugato.cli.{name}"), name)


def run(arguments: Sequence[str]) -> None:
    """Run a command; what a user can cause ends in one line and exit status 1."""
    if not arguments or arguments[0] in ("--help", "-h"):
        display.commands(COMMANDS)
        sys.exit(0 if arguments else 2)
    name, *rest = arguments
    if name in ("--version", "-V"):
        print(f"mugato {version('mugato')}")
        return
    if name not in COMMANDS:
        known = f"there are {', '.join(COMMANDS)}{did_you_mean(name, COMMANDS)}"
        print(f"mugato: no command {name!r}; {known}", file=sys.stderr)
        sys.exit(2)
    try:
        if name == "train":
            command(name)(rest)
        else:
            import tyro

            tyro.cli(command(name), args=rest, prog=f"mugato {name}")
    except BrokenPipeError:  # the reader has seen enough: `mugato data list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, ImportError, OSError) as error:
        display.progress_console.print(
            f"[red]mugato {name}:[/red] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
