"""Train on a walk with corrections, in a process that dies at some moment: RUN MOMENT [--resume].

A moment is the call number N of a function, "NAME N", be it Python's or C's.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import torch

import mugato
from mugato.corrections.rounds import train
from mugato.tasks.registry import TASKS
from mugato.training.config import TokenizerConfig, TrainConfig
from mugato.training.optimizer import OptimizerConfig
from tests.corrections.walks import walk_task

SIZES = {
    "width": 32, "num_layers": 2, "num_heads": 2, "head_size": 16, "hidden_size": 64,
    "context_length": 64, "patch_width": 32,
}  # fmt: skip


def register() -> None:
    """Make the walk one of our tasks."""
    TASKS["walk"] = walk_task()


def make_config(run: Path, **changes) -> TrainConfig:
    text = run.parent / "play.txt"
    text.write_text("to be or not to be, that is the question. " * 50)
    names = ("walk", f"text:{text}")
    settings = {
        "datasets": tuple(mugato.DatasetConfig(name=name) for name in names),
        "steps": 9, "corrections": 2, "correction_share": 1.0, "batch_rows": 2, "processes": 1,
        "save_every": 2, "log_every": 1,
        "model": dataclasses.replace(mugato.GatoConfig.micro(), **SIZES), "precision": "fp32",
        "tokenizer": TokenizerConfig(text_pieces=300),
        "optimizer": OptimizerConfig(lr=3e-3, warmup_steps=2),
    }  # fmt: skip
    return TrainConfig(run=run, **{**settings, **changes})


def main(run: str, moment: str, *flags: str) -> None:
    name, _, number = moment.partition(" ")
    calls = 0

    def die_at_moment(frame, event, argument):
        nonlocal calls
        called = argument.__name__ if event == "c_call" else frame.f_code.co_name
        if event in ("call", "c_call") and called == name:
            calls += 1
            if calls == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

    register()
    sys.setprofile(die_at_moment)
    train(make_config(Path(run)), resume="--resume" in flags)


if __name__ == "__main__":
    torch.set_num_threads(1)  # as the tests do: more add in another order
    main(*sys.argv[1:])
