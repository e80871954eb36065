"""What `mugato train` tells before it trains: the flags that people use, what a run would take."""

import dataclasses
from typing import Annotated, Any

import tyro
from docstring_parser import parse
from rich.table import Table

from mugato.cli.display import console
from mugato.training.config import TrainConfig

# Of the selection and of the configuration.
USUAL = (
    "preset", "tasks", "sources", "env", "demonstrations", "history", "resume", "overwrite",
    "dry_run", "run", "init_from", "steps", "max_tokens", "max_seconds", "batch_rows", "held_out",
    "play_episodes", "evaluate_every", "device", "processes", "workers", "compile", "seed",
)  # fmt: skip


def show_usual_flags(selection: Any, config: TrainConfig) -> None:
    """Show the flags that people use, with a configuration's values, and how to see the rest."""
    fields = []
    for default in (selection, config):
        texts = _described(type(default))
        for field in dataclasses.fields(default):
            if field.name in USUAL:
                kind = Annotated[field.type, tyro.conf.arg(help=texts[field.name])]
                value = getattr(default, field.name)
                told = dataclasses.field(default_factory=lambda value=value: value)
                fields.append((field.name, kind, told))
    command: Any = dataclasses.make_dataclass("Usual", fields, frozen=True)
    command.__doc__ = (
        "Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`.\n\n"
        f"These are the usual flags; `mugato train --help-all` shows all "
        f"{_count(type(selection)) + _count(TrainConfig)}: every field of the configuration is one."
    )
    tyro.cli(command, args=["--help"], prog="mugato train")


def _described(kind: type) -> dict[str, str]:
    """Return what a class's docstring says of each attribute; some share a line."""
    return {
        name: " ".join((param.description or "").split())
        for param in parse(kind.__doc__ or "").params
        for name in param.arg_name.split(", ")
    }


def _count(kind: type) -> int:
    """Count the flags of a class, those of its parts too."""
    kinds = [field.type for field in dataclasses.fields(kind)]
    return sum(
        _count(k) if isinstance(k, type) and dataclasses.is_dataclass(k) else 1 for k in kinds
    )


def show_estimates(config: TrainConfig) -> None:
    """Show what a run would take."""
    from mugato.training.estimate import PEAK_FLOPS, REACHED, estimates, flops_per_token

    model, found = estimates(config)
    flops, table = flops_per_token(model), Table(
        "GPUs", "weights split over", "weights, gradients, moments", "gathered", "activations",
        "memory of each", "hours", box=None,
    )  # fmt: skip
    for one in found:
        parts = (one.weights_gib, one.gathered_gib, one.activations_gib, one.memory_gib)
        hours = "by the clock" if one.hours is None else f"{one.hours:,.1f}"
        cells = [f"{part:,.1f} GiB" for part in parts]
        table.add_row(f"{one.devices}", f"{one.shards}", *cells, hours)
    rows = config.batch_rows // config.microbatches
    console.print(
        f"{model.num_parameters / 1e6:,.1f} M parameters, {flops / 1e9:,.2f} GFLOP a token, "
        f"{config.microbatches} microbatches of {rows} x {config.model.context_length} tokens"
    )
    console.print(table)
    console.print(
        f"Estimates: fp32 weights and moments, bf16 activations, {REACHED:.0%} of "
        f"{PEAK_FLOPS / 1e12:.0f} TFLOP/s reached; numbers of GPUs to which the "
        "microbatches cannot be dealt out are left out. `--shards N` splits weights, gradients and "
        "moments over N of them. Pictures, and what the allocator wastes, come on top."
    )
