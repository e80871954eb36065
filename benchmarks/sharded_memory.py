"""Peak memory of each process when weights, gradients and moments are split over several (FSDP2).

Training steps of the paper's baseline (364 M) on a row of text, beside one process that holds all:
forward, backward, AdamW, each in processes of their own (gloo).

    python benchmarks/sharded_memory.py [--size baseline] [--shards 1 4] [--tokens 128]
"""

import argparse
import dataclasses
import resource

import numpy as np
import torch

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.tokens.packing import pack
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import text_timesteps
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.optimizer import OptimizerConfig, make_optimizer
from mugato.training.run import Events, run_in_processes
from mugato.training.sharding import shard

STEPS = 2  # the moments exist from the first step on


def steps(size: str, shards: int, tokens: int, context: DistributedContext) -> None:
    """Train for some steps."""
    torch.manual_seed(0)
    config = dataclasses.replace(getattr(GatoConfig, size)(), dropout=0.0, stochastic_depth=0.0)
    model = Gato(config).train()
    if shards > 1:
        shard(model, shards, context)
    optimizer = make_optimizer(model, OptimizerConfig(), context)
    ids = np.random.default_rng(context.rank).integers(0, config.vocab.num_text, tokens)
    batch = pack([sequence(text_timesteps(ids), config.vocab)], length=tokens)
    for _ in range(STEPS):
        (model(batch).sum() / (tokens * shards)).backward()
        optimizer.step()
        optimizer.zero_grad()


def peaks(size: str, shards: int, tokens: int, events: Events) -> list[float]:
    """Return every process's peak, in GiB."""
    with distributed_context() as context:
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        steps(size, shards, tokens, context)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
        every = torch.zeros(context.world_size)
        every[context.rank] = peak / 2**20
        return context.sum(every).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="baseline")
    parser.add_argument("--shards", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--tokens", type=int, default=128)
    options = parser.parse_args()
    first = None
    for shards in options.shards:
        arguments = (options.size, shards, options.tokens)
        found = run_in_processes(shards, peaks, arguments, Events(print, print))
        first = first or max(found)
        told = ", ".join(f"{peak:.2f}" for peak in found)
        print(f"{options.size} over {shards}: {told} GiB, {max(found) / first:.0%}", flush=True)


if __name__ == "__main__":
    main()
