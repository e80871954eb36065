"""The training loop out of public pieces: torchrun --nproc_per_node=2 train.py demo runs/mine.

`mugato train` comes to the same weights. It also writes its losses, leaves out steps that are not
finite, saves when it is stopped, corrects and tunes. Copy this one and change it.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from mugato.agent import Agent
from mugato.data.loader import BatchLoader
from mugato.data.mixture import Mixture
from mugato.model.precision import autocast
from mugato.training.checkpoint import TrainingProgress, load_state, save_state, state_tensors
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.loop import make_learner, seed_of, settled, target_weights
from mugato.training.optimizer import learning_rate
from mugato.training.presets import preset
from mugato.training.run_info import save_config
from mugato.training.setup import make_agent, make_mixture, open_sources, tokenizer_of


def train(
    config: TrainConfig, agent: Agent, mixture: Mixture, here: DistributedContext, *, resume: bool
) -> None:
    """Train until the budget is used up; keep the agent and the state in the run's folder."""
    model, config = agent.model.to(here.device).train(), settled(config, here, resume=resume)
    learner = make_learner(model, config, here)
    progress = TrainingProgress(microbatches=mixture.start())
    progress = load_state(config.run, learner) if resume else progress
    weights = target_weights(mixture, config.balance).to(here.device)
    parts = here.own_microbatches(config.microbatches)
    begun = time.perf_counter() - progress.seconds
    with BatchLoader(mixture, parts, progress.microbatches, workers=config.workers) as loader:
        while (done := progress.fraction(config)) < 1:
            batches, microbatches = loader.next()
            batches = [batch.to(here.device) for batch in batches]
            # A mean over all targets of the step, whichever process has them.
            counts = [weights[b.targets.sources[b.targets.loss_mask]].sum() for b in batches]
            targets = here.sum(torch.stack(counts).sum())
            sums = torch.zeros(2, device=here.device)  # of loss and tokens
            learner.optimizer.zero_grad(set_to_none=True)
            for part, batch in zip(parts, batches, strict=True):
                torch.manual_seed(seed_of(config.seed, progress.step, part))  # dropout, patches
                with autocast(here.device, config.precision):
                    loss = model(batch, config.loss).sum(weights) / targets
                loss.backward()
                sums += torch.stack([loss.detach(), (batch.inputs.segments > 0).sum()])
            here.sum_gradients(model.parameters())
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_norm)
            for group in learner.optimizer.param_groups:
                group["lr"] = learning_rate(progress.step, done, config.optimizer)
            with autocast(here.device, config.precision):
                learner.optimizer.step()
            if learner.averaged:
                learner.averaged.update(model, progress.step + 1)
            mean, tokens = here.sum(sums).tolist()
            progress = replace(
                progress, step=progress.step + 1, tokens=progress.tokens + int(tokens),
                seconds=time.perf_counter() - begun, microbatches=microbatches,
            )  # fmt: skip
            if here.is_main:
                print(f"step {progress.step}, {progress.tokens:,} tokens, loss {mean:.6f}")
    progress = replace(progress, microbatches=here.gather(progress.microbatches))
    if here.is_main:
        save_config(config)
        replace(agent, model=learner.acting).save_pretrained(config.run)
        save_state(config.run, state_tensors(learner), progress)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("preset")
    parser.add_argument("run", type=Path, help="folder")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    config = replace(preset(options.preset), run=options.run, steps=options.steps, max_seconds=None)
    data = open_sources(config.datasets)
    tokenizer = tokenizer_of(config, data, resume=options.resume)
    agent, mixture = make_agent(config, data, tokenizer), make_mixture(config, data, tokenizer)
    with distributed_context() as here:
        train(config, agent, mixture, here, resume=options.resume)
