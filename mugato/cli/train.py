"""`mugato train`: one agent on a mixture of tasks and sources."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from mugato.cli import display
from mugato.training.config import TrainConfig
from mugato.training.presets import PRESETS, preset


def train(arguments: Sequence[str]) -> None:
    """Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`."""
    arguments = list(arguments)
    name = _take(arguments, "--preset")
    env = _take(arguments, "--env")
    demonstrations = _take(arguments, "--demonstrations") if env else None
    resume = _take_flag(arguments, "--resume")
    if env and not demonstrations:
        raise ValueError("--env needs --demonstrations NAME, a Minari data set")
    tasks = (env,) if env else _values(arguments, "--tasks")
    sources = _values(arguments, "--sources")
    if name is None and (tasks or sources):  # these alone, and nothing of the demo's
        base = _narrowed(preset("own"), tasks=tasks or (), sources=sources or ())
    else:
        base = preset(name or "demo")
        base = _narrowed(
            base,
            tasks=base.tasks if tasks is None else tasks,
            sources=base.sources if sources is None else sources,
        )
    if env and demonstrations:
        base = dataclasses.replace(base, demonstrations={env: demonstrations})
    config = tyro.cli(
        TrainConfig,
        default=base,
        args=arguments,
        prog="mugato train",
        description=(
            "Train an agent. --preset NAME chooses a complete configuration "
            f"({', '.join(PRESETS)}), the flags below change it. --tasks and --sources without a "
            "preset train on those alone. --env ID --demonstrations NAME trains on any Minari data "
            "set of any Gymnasium environment. --resume goes on where the run stopped."
        ),
    )
    run_training(config, resume=resume)


def run_training(config: TrainConfig, *, resume: bool = False) -> None:
    """Train in as many processes as the machine has cores for, or in this one."""
    from mugato.training.launch import num_processes, run_in_processes

    # Read by PyTorch at its first allocation: what a step allocates anew costs fewer page faults.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    count = num_processes(config)
    if count == 1:
        _train_here(config, resume)
    else:
        run_in_processes(count, _train_here, config, resume)


def _train_here(config: TrainConfig, resume: bool) -> None:
    """Open the data, train, and show how it goes."""
    from mugato.training.distributed import ranks
    from mugato.training.loop import train as training_loop
    from mugato.training.setup import (
        make_agent,
        make_mixture,
        make_tokenizer,
        open_sources,
        saved_tokenizer,
    )

    with ranks() as peers:
        with display.status("Reading demonstrations and text", quiet=not peers.is_main):
            sources = open_sources(config)
            tokenizer = (saved_tokenizer if resume else make_tokenizer)(config, sources)
            mixture = make_mixture(config, sources, tokenizer)
            agent = make_agent(config, sources, tokenizer)
        with display.training(config, agent, quiet=not peers.is_main) as on_report:
            progress = training_loop(
                config, agent, mixture, peers, resume=resume, on_report=on_report
            )
        if peers.is_main:
            display.trained(config, progress)


def _narrowed(
    config: TrainConfig, *, tasks: tuple[str, ...], sources: tuple[str, ...]
) -> TrainConfig:
    """The same run with other tasks and sources: what was said of the missing ones is dropped."""

    def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name in {*tasks, *sources}}

    weights = config.weights if isinstance(config.weights, str) else kept(config.weights)
    return dataclasses.replace(
        config, tasks=tasks, sources=sources, weights=weights,
        history=kept(config.history), splits=kept(config.splits),
        demonstrations=kept(config.demonstrations),
    )  # fmt: skip


def _values(arguments: Sequence[str], flag: str) -> tuple[str, ...] | None:
    """The values of `flag A B` or `flag=A B`, if it is there.

    >>> _values(["--steps", "5", "--tasks=cartpole", "babyai-go-to-obj", "--sources"], "--tasks")
    ('cartpole', 'babyai-go-to-obj')
    """
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == flag:
            rest = itertools.takewhile(lambda value: not value.startswith("--"), arguments[i + 1 :])
            return (value, *rest) if equals else tuple(rest)
    return None


def _take(arguments: list[str], flag: str) -> str | None:
    """Remove `flag VALUE` or `flag=VALUE` from the arguments and return the value."""
    for i, argument in enumerate(arguments):
        if argument == flag:
            if i + 1 == len(arguments):
                raise ValueError(f"{flag} needs a value")
            del arguments[i]
            return arguments.pop(i)
        if argument.startswith(f"{flag}="):
            return arguments.pop(i).partition("=")[2]
    return None


def _take_flag(arguments: list[str], flag: str) -> bool:
    found = flag in arguments
    if found:
        arguments.remove(flag)
    return found
