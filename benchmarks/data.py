"""How fast the mixture gives batches, beside how fast micro's training takes them.

Demonstrations of a few of the demo's tasks are recorded into a temporary folder first; with them
come shakespeare, emoji and easy-vqa, all at the demo's weights. Rounds take turns and the fastest
of each counts: on a machine that others use too, it is the one that was disturbed least. Training
is measured in one process of one thread, and taken times the cores: more than two would reach.

    python benchmarks/data.py [--rounds 5] [--memory-batches 10000] [--scale 8]

`--scale 8` records eight times as many episodes: does memory grow with the data?
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mugato.data.loader import BatchLoader
from mugato.data.mixture import Mixture
from mugato.model.gato import Gato
from mugato.model.precision import autocast
from mugato.training import setup
from mugato.training.config import TrainConfig
from mugato.training.optimizer import make_optimizer
from mugato.training.presets import preset

EPISODES = {
    "babyai-go-to-obj": 200,
    "babyai-go-to-local": 400,
    "minigrid-four-rooms": 100,
    "pointmaze-umaze": 40,
    "cartpole": 20,
}
SOURCES = ("shakespeare", "emoji", "easy-vqa")
WORKERS = (0, 1, 2)
WARM_UP = 80  # fresh workers have read nothing yet
BATCHES = 60
TRAINING_STEPS = 6


def config() -> TrainConfig:
    """Return the demo, as far as its data were recorded here."""
    demo = preset("demo")
    names = (*EPISODES, *SOURCES)
    by_name = {dataset.name: dataset for dataset in demo.datasets}
    return dataclasses.replace(demo, datasets=tuple(by_name[name] for name in names))


def supply(mixture: Mixture, workers: int) -> tuple[float, float]:
    """Tokens per second of all microbatches together, and the share of places that hold tokens."""
    microbatches = range(mixture.num_microbatches)
    with BatchLoader(mixture, microbatches, mixture.start(), workers=workers) as loader:
        for _ in range(WARM_UP):
            loader.next()
        begun = time.perf_counter()
        batches = [batch for _ in range(BATCHES) for batch in loader.next()[0]]
        seconds = time.perf_counter() - begun
    tokens = sum(int((batch.inputs.segments > 0).sum()) for batch in batches)
    return tokens / seconds, tokens / sum(batch.inputs.segments.numel() for batch in batches)


def consumption(model: Gato, mixture: Mixture, config: TrainConfig) -> float:
    """Tokens per second of training in one thread; the batches are there beforehand."""
    torch.set_num_threads(1)
    optimizer = make_optimizer(model, config.optimizer)
    state, batches = mixture.start()[0], []
    for _ in range(TRAINING_STEPS):
        batch, state = mixture.batch(0, state)
        batches.append(batch)
    seconds = []
    for batch in batches:
        begun = time.perf_counter()
        with autocast(torch.device("cpu"), config.precision):
            losses = model(batch)
        losses.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return batches[0].inputs.segments.numel() / min(seconds)


def memory(mixture: Mixture, num_batches: int) -> None:
    """Print this process's memory while it takes batches, and how near the weights it comes."""
    state, counts, sizes = mixture.start()[0], np.zeros(len(mixture.names)), []
    print(f"  {0:7,} batches  {resident_mib():6,.0f} MiB", flush=True)
    for done in range(1, num_batches + 1):
        batch, state = mixture.batch(0, state)
        counts += np.bincount(
            batch.targets.sources[batch.inputs.segments > 0], minlength=len(counts)
        )
        if done % max(1, num_batches // 10) == 0:
            sizes.append(resident_mib())
            print(f"  {done:7,} batches  {sizes[-1]:6,.0f} MiB", flush=True)
    change = max(abs(size / sizes[0] - 1) for size in sizes)
    print(f"memory changed by at most {change:.1%} after the first tenth")
    strays = np.abs(counts / counts.sum() - mixture.shares).max()
    print(f"the realised weights are within {strays:.2%} of those asked")


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def recorded(scale: int) -> Iterator[None]:
    """Make a temporary folder with demonstrations in it, `scale` times as many as usual."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder
        for name, episodes in EPISODES.items():
            # In another process: this one's memory is to be that of the mixture alone.
            command = ["record", name, "--episodes", str(scale * episodes)]
            subprocess.run([sys.executable, "-m", "mugato", *command], check=True)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-batches", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1)
    arguments = parser.parse_args()
    with recorded(arguments.scale):
        run = config()
        sources = setup.open_sources(run.datasets)
        tokenizer = setup.make_tokenizer(run.tokenizer, run.model, sources)
        begun = time.perf_counter()
        mixture = setup.make_mixture(run, sources, tokenizer)
        print(f"mixture ready after {time.perf_counter() - begun:.2f} s")
        model = setup.make_agent(run, sources, tokenizer).model.train()
        if arguments.memory_batches:
            memory(mixture, arguments.memory_batches)
        if not arguments.rounds:
            return
        speeds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        trained, fills = [], []
        for _ in range(arguments.rounds):
            for workers in WORKERS:
                speed, fill = supply(mixture, workers)
                speeds[workers].append(speed)
                fills.append(fill)
            trained.append(consumption(model, mixture, run))
    cores = len(os.sched_getaffinity(0))
    wanted = cores * max(trained)
    print(f"{np.mean(fills):.2%} of the places hold tokens")
    print(f"training, {cores} x one thread   {wanted:10,.0f} tokens/s")
    for workers, values in speeds.items():
        spread = f"{min(values):,.0f}-{max(values):,.0f}"
        print(
            f"{workers} workers               {max(values):10,.0f} tokens/s"
            f"  {max(values) / wanted:5.1f}x  ({spread})"
        )


if __name__ == "__main__":
    main()
