"""Where a run stands, in one safetensors file: weights, optimiser moments, data order, clock.

One file, written whole, so that a run stopped at any moment resumes from one consistent step.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import safetensors
import torch
from torch import nn

from mugato.data.mixture import MicrobatchState
from mugato.model.serialization import check_finite, read_tensors, write_tensors
from mugato.system.errors import one_line
from mugato.system.typed_json import from_json
from mugato.training.averaging import AveragedWeights
from mugato.training.config import TrainConfig
from mugato.training.sharding import split_like

STATE = "training_state.safetensors"
MOMENTS = {False: ("step", "exp_avg", "exp_avg_sq"), True: ("step", "momentum_buffer")}  # of Muon?


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """How far a run has come.

    Attributes:
        step: optimiser updates done.
        seconds: training time so far, pauses left out.
        tokens: tokens read so far, padding left out.
        skipped: steps whose loss or gradient was not finite: they left the weights as they were.
        microbatches: state of each microbatch of the data stream.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    skipped: int = 0
    microbatches: tuple[MicrobatchState, ...]

    def before_other_data(self) -> "TrainingProgress":
        """Forget which windows wait for room: in other data their numbers mean other windows."""
        return replace(self, microbatches=tuple(m.without_waiting() for m in self.microbatches))

    def fraction(self, config: TrainConfig) -> float:
        """Return how much of the budget is used up: of steps, tokens or time, which is furthest."""
        used = (
            (self.step, config.steps),
            (self.tokens, config.max_tokens),
            (self.seconds, config.max_seconds),
        )
        return max(done / allowed for done, allowed in used if allowed is not None)


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What changes with every step.

    Attributes:
        averaged: of the weights, if the run keeps them.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: AveragedWeights | None = None

    @property
    def acting(self) -> nn.Module:
        """The model that the agent gets."""
        return self.averaged.model if self.averaged else self.model


def state_tensors(learner: Learner) -> dict[str, torch.Tensor]:
    """Return all that changes with every step, by name."""
    tensors = {f"model.{name}": value for name, value in learner.model.state_dict().items()}
    if learner.averaged:
        averaged = learner.averaged.model.state_dict()
        tensors |= {f"averaged.{name}": value for name, value in averaged.items()}
    for index, moments in learner.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{index}.{name}"] = value
    return tensors


def weights_in(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take the model's weights out of a state's tensors."""
    prefix = "model."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def save_state(run: Path, tensors: Mapping[str, torch.Tensor], progress: TrainingProgress) -> None:
    """Write the run's state; the previous one stays until the new one is whole."""
    metadata = {"progress": json.dumps(asdict(progress))}
    write_tensors(run / STATE, tensors, metadata)


def load_state(run: Path, learner: Learner) -> TrainingProgress:
    """Bring all that learns to where the run stopped; averages begin where there were none.

    Raises:
        ValueError: if there is nothing to resume, or it is corrupt, not finite or of another model.
    """
    path = run / STATE
    _check_there(run)
    tensors, metadata = read_tensors(path)
    progress = _progress(path, metadata)
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "averaged": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    _load_weights(learner.model, parts["model"], path)
    if learner.averaged:
        _load_weights(learner.averaged.model, parts["averaged"] or parts["model"], path)
    optimizer = learner.optimizer
    moments: dict[int, dict[str, torch.Tensor]] = {}
    if parts["optimizer"] or progress.skipped < progress.step:  # none before the first step
        moments = _moments(parts["optimizer"], optimizer, path)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return progress


def _load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    own = model.state_dict()
    try:
        model.load_state_dict({n: split_like(w, own.get(n)) for n, w in weights.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} is of another model: {reason}") from None
    check_finite(model, path)


def _moments(
    tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, path: Path
) -> dict[int, dict[str, torch.Tensor]]:
    """Sort moments by the number of their parameter, all or none of each."""
    expected = [
        (p, MOMENTS[group.get("muon", False)])
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    found: dict[int, dict[str, torch.Tensor]] = {}
    for i, (p, names) in enumerate(expected):
        for name in names:
            tensor = tensors.get(f"{i}.{name}")
            if tensor is None or tensor.shape != (() if name == "step" else p.shape):
                raise ValueError(f"{path} is corrupt: no {name} of {p.shape} for parameter {i}")
            found.setdefault(i, {})[name] = split_like(tensor, None if name == "step" else p)
    return found


def read_progress(run: Path) -> TrainingProgress:
    """Read how far a run has come.

    Raises:
        ValueError: if there is nothing to resume, or it is corrupt or of another version.
    """
    path = run / STATE
    _check_there(run)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is corrupt: {one_line(error)}") from None
    return _progress(path, metadata)


def _check_there(run: Path) -> None:
    if not (run / STATE).exists():
        raise ValueError(f"nothing to resume: {run} has no {STATE}")


def _progress(path: Path, metadata: Mapping[str, str] | None) -> TrainingProgress:
    try:
        progress = json.loads((metadata or {})["progress"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is corrupt: it tells no progress: {error}") from None
    try:
        return from_json(TrainingProgress, progress, "progress")
    except ValueError as error:
        raise ValueError(f"{path} is of another version of mugato: {error}") from None
