"""What a run reports: one record per logged step, to a JSON-lines file and to TensorBoard."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mugato.training.run_info import METRICS, read_metrics


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One logged step.

    Attributes:
        loss: mean over all targets since the last report, in nats.
        losses: the same per source; a source without targets in that time is left out.
        lr: learning rate.
        grad_norm: before clipping.
        tokens, seconds: since the beginning of the run.
        tokens_per_s: since the last report.
        fill: share of the batch's places that are tokens, not padding.
        progress: 0 to 1, by steps or by time, whichever is further.
    """

    step: int
    loss: float
    losses: Mapping[str, float]
    lr: float
    grad_norm: float
    tokens: int
    seconds: float
    tokens_per_s: float
    fill: float
    progress: float


class MetricsWriter:
    """Appends reports to `metrics.jsonl` and TensorBoard's event files in the run's folder."""

    def __init__(self, run: Path, *, from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run / METRICS
        kept = [r for r in read_metrics(run) if r["step"] <= from_step] if from_step else []
        self._path.write_text("".join(json.dumps(r) + "\n" for r in kept))
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=from_step + 1)

    def write(self, report: StepReport) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(report)) + "\n")
        for name in ("loss", "lr", "grad_norm", "tokens_per_s", "fill"):
            self._board.add_scalar(f"train/{name}", getattr(report, name), report.step)
        for source, loss in report.losses.items():
            self._board.add_scalar(f"loss/{source}", loss, report.step)

    def close(self) -> None:
        self._board.close()
