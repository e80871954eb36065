"""Where a run stands, in one safetensors file: weights, optimiser moments, data order, clock.

One file, written whole, so that a run stopped at any moment resumes from one consistent step.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from mugato.data.mixture import MicrobatchState
from mugato.model.serialization import check_finite
from mugato.system.files import write_whole
from mugato.training.config import TrainConfig

STATE = "training_state.safetensors"


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

    def fraction(self, config: TrainConfig) -> float:
        """Return how much of the schedule is done, by steps or by time, whichever is further."""
        done = self.step / config.steps
        return done if config.max_seconds is None else max(done, self.seconds / config.max_seconds)


def save_state(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainingProgress
) -> None:
    """Write the run's state; the previous one stays until the new one is whole."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{index}.{name}"] = value
    metadata = {"progress": json.dumps(asdict(progress))}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    write_whole(
        run / STATE, lambda path: safetensors.torch.save_file(tensors, path, metadata=metadata)
    )


def load_state(run: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingProgress:
    """Bring model and optimiser to where the run stopped.

    Raises:
        ValueError: if there is nothing to resume, or it is corrupt, not finite or of another model.
    """
    path, tensors = run / STATE, dict[str, torch.Tensor]()
    progress = read_progress(run, tensors)
    try:
        model.load_state_dict(
            {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{path} is of another model: {reason}") from None
    check_finite(model, path)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return progress


def read_progress(run: Path, tensors: dict[str, torch.Tensor] | None = None) -> TrainingProgress:
    """Read how far a run has come, and its tensors into `tensors` if that is given.

    Raises:
        ValueError: if there is nothing to resume, or it is corrupt or of another version.
    """
    path = run / STATE
    if not path.is_file():
        raise ValueError(f"nothing to resume: {run} has no {STATE}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            if tensors is not None:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is corrupt: {error}") from None
    try:
        microbatches = tuple(map(MicrobatchState.from_json, progress["microbatches"]))
        return TrainingProgress(**{**progress, "microbatches": microbatches})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version of mugato: {error!r}") from None
