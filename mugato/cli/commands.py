"""The commands: `mugato COMMAND`.

To add a command: one file in this room and one line below.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import tyro
from rich.markup import escape

from mugato.cli import display
from mugato.cli.ablate import ablate
from mugato.cli.compare import compare
from mugato.cli.data import data
from mugato.cli.demo import demo
from mugato.cli.evaluate import evaluate
from mugato.cli.export import export
from mugato.cli.generate import generate
from mugato.cli.play import play
from mugato.cli.record import record
from mugato.cli.reference import reference
from mugato.cli.train import train
from mugato.cli.tune import tune
from mugato.system.errors import did_you_mean

COMMANDS: Mapping[str, Callable[..., Any]] = {
    "record": record,
    "train": train,
    "tune": tune,
    "evaluate": evaluate,
    "play": play,
    "generate": generate,
    "compare": compare,
    "ablate": ablate,
    "data": data,
    "reference": reference,
    "export": export,
    "demo": demo,
}


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
            train(rest)
        else:
            tyro.cli(COMMANDS[name], args=rest, prog=f"mugato {name}")
    except BrokenPipeError:  # the reader has seen enough: `mugato data list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, ImportError, OSError) as error:
        display.progress_console.print(
            f"[red]mugato {name}:[/red] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
