"""Loss on what a run is not trained on, and the best agent so far (not in the paper)."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from mugato.data.mixture import Mixture
from mugato.data.source import Source
from mugato.data.windows import Windows
from mugato.model.precision import Precision, autocast
from mugato.system.files import write_text_whole
from mugato.system.typed_json import from_json, read_json
from mugato.tokens.batch import Batch
from mugato.tokens.tokenizer import Tokenizer
from mugato.training.config import TrainConfig
from mugato.training.run_folder import BEST, BEST_LOSS
from mugato.training.setup import make_windows

# Of each source so many rows at a time, until there are so many targets: a second or two in all.
ROWS, TARGETS, MAX_BATCHES = 4, 200, 50


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The same few batches of each source's episodes that are held out, whenever they are read.

    Attributes:
        batches: by source.
    """

    batches: Mapping[str, list[Batch]]

    @staticmethod
    def of(
        config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
    ) -> "HeldOut | None":
        """Cut what is held out into windows as in training; None where nothing is."""
        length = config.model.context_length
        found = {
            windows.name: few_batches(windows, row_length=length, seed=config.seed)
            for windows in make_windows(config, sources, tokenizer)
        }
        return HeldOut(batches=found) if found else None

    @torch.no_grad()
    def losses(
        self, model: nn.Module, device: torch.device, precision: Precision
    ) -> dict[str, float]:
        """Return the mean loss of each source's targets, in nats, without dropout.

        Where weights are split all processes must ask at once; otherwise each gets the same.
        """
        was_training = model.training
        model.eval()
        found = {}
        for name, batches in self.batches.items():
            with autocast(device, precision):
                values = [model(batch.to(device)).values for batch in batches]
            found[name] = float(torch.cat(values).mean())
        model.train(was_training)
        return found


def few_batches(windows: Windows, *, row_length: int, seed: int) -> list[Batch]:
    """Take the first batches of a source's own stream, until they have targets enough."""
    mixture = Mixture(
        [windows], weights="uniform", num_rows=ROWS, row_length=row_length, num_microbatches=1,
        seed=seed,
    )  # fmt: skip
    (state,), batches, targets = mixture.start(), list[Batch](), 0
    while targets < TARGETS and len(batches) < MAX_BATCHES:
        batch, state = mixture.batch(0, state)
        batches.append(batch)
        targets += int(batch.targets.loss_mask.sum())
    return batches


def is_best(run: Path, losses: Mapping[str, float]) -> bool:
    """Tell whether no agent that was kept has a lower mean over the sources; NaN is never best.

    Raises:
        ValueError: if the note beside the kept one is damaged.
    """
    path = run / BEST / BEST_LOSS
    mean = fmean(losses.values())
    if not path.exists() or not math.isfinite(mean):
        return math.isfinite(mean)
    return mean < from_json(float, read_json(path)["loss"], f"{path}: loss")


def note_best(run: Path, step: int, losses: Mapping[str, float]) -> None:
    """Write beside the agent that is kept how good it is."""
    told = {"step": step, "loss": fmean(losses.values()), "losses": dict(losses)}
    text = json.dumps(told, indent=1) + "\n"
    write_text_whole(run / BEST / BEST_LOSS, text)
