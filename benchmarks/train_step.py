"""Tokens per second of the demo's training step, and of what it would be without our choices.

Every variant runs in a fresh process on the same real batches of the demo's questions and captions
(no demonstrations needed); variants take turns, and medians and ratios are printed.

    python benchmarks/train_step.py [--rounds 3]
"""

import argparse
import statistics
import subprocess
import sys
import time
from typing import Literal

ROWS = 8
STEPS = 12
WARM_UP = 4
VARIANTS: dict[str, tuple[Literal["bf16", "fp32"], int, bool]] = {
    "bf16, one thread": ("bf16", 1, True),
    "fp32, one thread": ("fp32", 1, True),
    "bf16, two threads": ("bf16", 2, True),
    "bf16, one thread, loss over all logits at once": ("bf16", 1, False),
}


def measure(precision: Literal["bf16", "fp32"], threads: int, chunked: bool) -> float:
    """Tokens per second of one process."""
    import torch
    from torch.nn import functional as F

    from mugato.model import loss
    from mugato.model.precision import autocast
    from mugato.training import setup
    from mugato.training.config import TrainConfig
    from mugato.training.optimizer import make_optimizer
    from mugato.training.presets import preset
    from mugato.training.run_info import is_task

    torch.set_num_threads(threads)
    if not chunked:
        loss.linear_cross_entropy = lambda x, table, targets: F.cross_entropy(
            F.linear(x, table).float(), targets, reduction="none"
        )
    demo = preset("demo")
    datasets = tuple(dataset for dataset in demo.datasets if not is_task(dataset))
    config = TrainConfig(
        datasets=datasets, tokenizer=demo.tokenizer, batch_rows=ROWS, microbatches=1, steps=STEPS
    )
    sources = setup.open_sources(config.datasets)
    tokenizer = setup.make_tokenizer(config.tokenizer, config.model, sources)
    mixture = setup.make_mixture(config, sources, tokenizer)
    model = setup.make_agent(config, sources, tokenizer).model.train()
    optimizer = make_optimizer(model, config.optimizer)
    (state,), seconds = mixture.start(), []
    for _ in range(STEPS):
        batch, state = mixture.batch(0, state)
        begun = time.perf_counter()
        with autocast(torch.device("cpu"), precision):
            losses = model(batch)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return ROWS * config.model.context_length / statistics.median(seconds[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant")
    arguments = parser.parse_args()
    if arguments.variant:
        print(measure(*VARIANTS[arguments.variant]))
        return
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(arguments.rounds):
        for name in VARIANTS:
            command = [sys.executable, __file__, "--variant", name]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            speeds[name].append(float(output.split()[-1]))
    base = statistics.median(next(iter(speeds.values())))
    for name, values in speeds.items():
        median = statistics.median(values)
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        print(f"{name:50} {median:8,.0f} tokens/s  {median / base:5.2f}x  ({spread})")


if __name__ == "__main__":
    main()
