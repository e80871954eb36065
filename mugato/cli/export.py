"""`mugato export`: an agent alone, in half the space."""

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mugato.cli import display
from mugato.model.serialization import CONFIG, WEIGHTS
from mugato.system.files import write_text_whole
from mugato.system.typed_json import read_json
from mugato.training.run_info import TRAIN_CONFIG


def export(
    run: Annotated[Path, tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    *,
    precision: Literal["bf16", "fp32"] = "bf16",
) -> None:
    """Write an agent alone, in half the space: to publish it, or to put it on a robot.

    What going on with its training takes stays behind. The folder is one like any other:
    `mugato evaluate`, `play` and `Policy.from_pretrained` take it.

    Args:
        run: folder of the run, or the name of an agent that comes with the package.
        folder: a new one.
        precision: of the weights in it; bf16 takes half the space.
    """
    from mugato.agent import Agent, shipped_agent

    if (folder / CONFIG).exists() or (folder / WEIGHTS).exists():
        raise ValueError(f"{folder} holds an agent already")
    run = shipped_agent(run) or run
    Agent.from_pretrained(run).save_pretrained(folder, precision=precision)
    if (run / TRAIN_CONFIG).exists():  # what it was trained on: evaluation asks for it
        config = {**read_json(run / TRAIN_CONFIG), "run": str(folder)}
        text = json.dumps(config, indent=2) + "\n"
        write_text_whole(folder / TRAIN_CONFIG, text)
    size = sum(path.stat().st_size for path in folder.iterdir())
    display.console.print(f"The agent is in [bold]{folder}[/bold], {size / 1e6:.1f} MB")
