"""The training loop: the same for one process and for many (Reed et al. 2022, §2.3, App. D)."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mugato.agent import Agent
from mugato.data.loader import BatchLoader
from mugato.data.mixture import Mixture
from mugato.model.gato import Gato
from mugato.model.precision import autocast, wants_bf16
from mugato.system.signals import handled
from mugato.tokens.batch import Batch
from mugato.training.averaging import AveragedWeights
from mugato.training.checkpoint import (
    Learner,
    TrainingProgress,
    load_state,
    save_state,
    state_tensors,
    weights_in,
)
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.held_out import HeldOut, is_best, note_best
from mugato.training.lora import add_adapters, merged
from mugato.training.metrics import (
    Looks,
    MetricsWriter,
    StepReport,
    StepResult,
    StepSums,
    metrics_writer,
)
from mugato.training.optimizer import learning_rate, make_optimizer
from mugato.training.profiling import profiled
from mugato.training.run_folder import BEST, begin, note_job
from mugato.training.run_info import read_config, save_config
from mugato.training.sharding import shard, whole

# Steps in a row whose loss or gradient is not finite before a run is given up.
MAX_SKIPPED = 20


@runtime_checkable
class Play(Protocol):
    """Plays tasks with an agent; other processes are sent it."""

    @property
    def tasks(self) -> Sequence[str]:
        """What it can play."""
        ...

    def __call__(self, agent: Agent, tasks: Sequence[str]) -> Mapping[str, float]:
        """Return the mean return of each of these tasks; without what cannot be played."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told of a run as it goes on, or looks for himself.

    Attributes:
        on_report: called with each report.
        on_acting: called then with the model that the agent would get; its time does not count.
        play: plays every `evaluate_every` steps; that does not count, either.
    """

    on_report: Callable[[StepReport], None] = lambda report: None
    on_acting: Callable[[TrainingProgress, nn.Module], None] = lambda progress, model: None
    play: Play | None = None

    def tell(self, report: StepReport, progress: TrainingProgress, acting: nn.Module) -> float:
        """Tell them; return the seconds that do not count as training."""
        self.on_report(report)
        begun = time.perf_counter()
        self.on_acting(progress, acting)
        return time.perf_counter() - begun


def run_training(
    config: TrainConfig,
    agent: Agent,
    mixture: Mixture,
    context: DistributedContext,
    *,
    resume: bool = False,
    held_out: HeldOut | None = None,
    watch: Watch = Watch(),
) -> TrainingProgress:
    """Train an agent and keep it, with all that is needed to go on, in the run's folder.

    Ctrl-C, SIGTERM and SIGHUP end the current step, save and return. A step whose loss or gradient
    is not finite is skipped: it leaves the weights as they were.

    Args:
        held_out: not trained on; tells how good the agent is.
        watch: who is told every `log_every` steps.

    Raises:
        ValueError: after `MAX_SKIPPED` such steps in a row; the last good state is kept.
    """
    config = settled(config, context, resume=resume)
    model = _prepared(agent.model, config, context)
    learner = make_learner(model, config, context)
    fresh = TrainingProgress(microbatches=mixture.start())
    progress = load_state(config.run, learner) if resume else fresh
    if context.is_main:
        (save_config if resume else begin)(config)
        note_job(config.run)
    run = _TrainingRun(config, agent, mixture, context, learner, held_out)
    with interruptible() as interrupted:
        progress = run.steps(progress, interrupted, watch)
        run.save(progress)
    if learner.averaged:
        model.load_state_dict(learner.acting.state_dict())
    model.eval()
    return progress


def _prepared(model: Gato, config: TrainConfig, context: DistributedContext) -> Gato:
    """Put a model where it is trained, and on it what it does not know of."""
    model = model.to(context.device).train()
    model.sequence_model.checkpoint_activations = config.checkpoint_activations
    if config.lora_rank:
        add_adapters(model, config.lora_rank)
    if config.shards > 1:
        shard(model, config.shards, context)
    return model


def settled(config: TrainConfig, context: DistributedContext, *, resume: bool) -> TrainConfig:
    """Decide "auto" once, by the main process's stopwatch, for all processes and all of the run."""
    if config.precision != "auto":
        return config
    bf16 = False
    if context.is_main:
        saved = read_config(config.run).precision if resume else "auto"
        bf16 = wants_bf16(saved, context.device)
    return dataclasses.replace(config, precision="bf16" if context.any(bf16) else "fp32")


def make_learner(model: Gato, config: TrainConfig, context: DistributedContext) -> Learner:
    """Give a model its optimiser, and its averaged weights if the run keeps them; compile it."""
    share = config.optimizer.average_share
    averaged = AveragedWeights(model, share) if share else None  # a copy that is not compiled
    if config.compile:
        model.sequence_model.compile()
    optimizer = make_optimizer(model, config.optimizer, context)
    return Learner(model=model, optimizer=optimizer, averaged=averaged)


class _TrainingRun:
    """One run's microbatches, and the methods that move it on."""

    def __init__(
        self,
        config: TrainConfig,
        agent: Agent,
        mixture: Mixture,
        context: DistributedContext,
        learner: Learner,
        held_out: HeldOut | None,
    ) -> None:
        self.config, self.agent, self.mixture = config, agent, mixture
        self.held_out = held_out
        self.context, self.learner = context, learner
        self.model: Any = learner.model
        self.optimizer = learner.optimizer
        self.microbatches = context.own_microbatches(config.microbatches)
        self.split = config.shards > 1
        self._counted = target_weights(mixture, config.balance)
        self.weights = self._counted.to(context.device)

    def steps(
        self, progress: TrainingProgress, interrupted: Callable[[], bool], watch: Watch
    ) -> TrainingProgress:
        """Run until the schedule ends, corrections are due or somebody interrupts."""
        begun, good = time.perf_counter() - progress.seconds, progress
        sums = StepSums(self.config, self.mixture.names, progress)
        loader = BatchLoader(
            self.mixture, self.microbatches, progress.microbatches, workers=self.config.workers
        )
        tracing = profiled(self.config.run, wanted=self.config.profile and self.context.is_main)
        with loader, self._writer(progress) as writer, tracing as step_done:
            done = self._fraction(progress)
            while done < self.config.until and not self.context.any(interrupted()):
                batches, microbatches = loader.next()
                lr = learning_rate(progress.step, done, self.config.optimizer)
                result = self._step(batches, progress.step, lr)
                progress = TrainingProgress(
                    step=progress.step + 1,
                    seconds=time.perf_counter() - begun,
                    tokens=progress.tokens + result.tokens,
                    skipped=progress.skipped + (not result.is_finite),
                    microbatches=microbatches,
                )
                step_done()
                done = self._fraction(progress)
                good = progress if result.is_finite else self._last_good(good, progress)
                is_last = done >= self.config.until
                looks, seconds = self._look(progress.step, watch.play, is_last=is_last)
                begun += seconds
                if writer is not None:  # nobody else reports, which empties the sums
                    sums.add(result)
                    due = looks != Looks() or progress.step % self.config.log_every == 0
                    if due and sums.any_finite:
                        report = sums.report(progress, lr, done, looks)
                        writer.write(report)
                        begun += watch.tell(report, progress, self.learner.acting)
                if progress.step % self.config.save_every == 0:
                    self.save(progress)
        return progress.before_other_data() if self.config.until <= done < 1 else progress

    def _look(self, step: int, play: Play | None, *, is_last: bool) -> tuple[Looks, float]:
        """Where it is due, find out how good the agent is; also the seconds that do not count."""
        if step % self.config.evaluate_every and not is_last:
            return Looks(), 0.0
        begun = time.perf_counter()
        looks = Looks(held_out=self._held_out_losses(step), returns=self._returns(play))
        return looks, time.perf_counter() - begun

    def _held_out_losses(self, step: int) -> dict[str, float]:
        """Return each source's loss; the agent is kept if none was better."""
        if self.held_out is None:
            return {}
        found = self.held_out.losses(
            self.learner.acting, self.context.device, self.config.precision
        )
        if self.context.any(self.context.is_main and is_best(self.config.run, found)):
            weights = whole(self.learner.acting.state_dict(), self.context)
            if self.context.is_main:
                self._save_agent(self.config.run / BEST, weights)
                note_best(self.config.run, step, found)
        return found

    def _returns(self, play: Play | None) -> dict[str, float]:
        """Play; each process its part of the tasks, with weights of its own."""
        if play is None:
            return {}
        model: Any = self.learner.acting
        if self.config.lora_rank:
            model = merged(model)
        else:  # neither compiled nor touched by what acting keeps
            model = Gato(self.agent.model.config).to(self.context.device)
            model.load_state_dict(self.learner.acting.state_dict())
        tasks, world = list(play.tasks), self.context.world_size
        agent = dataclasses.replace(self.agent, model=model.eval())
        own = play(agent, tasks[self.context.rank :: world])
        found = self.context.gather(tuple(own.get(task) for task in tasks))
        return {task: value for task, value in zip(tasks, found, strict=True) if value is not None}

    def _last_good(self, good: TrainingProgress, now: TrainingProgress) -> TrainingProgress:
        """Return where the weights come from; give the run up if that is long ago."""
        if now.step - good.step < MAX_SKIPPED:
            return good
        if good.step:  # without one good step there is nothing to keep
            self.save(good)
        kept = f"{self.config.run} holds the state of step {good.step}" if good.step else "no state"
        raise ValueError(
            f"loss or gradient were not finite in {MAX_SKIPPED} steps in a row, the last of them "
            f"{now.step}; {kept}: lower optimizer.lr, or look at the data"
        )

    def save(self, progress: TrainingProgress) -> None:
        """Write the agent and the run's state, from the main process."""
        microbatches = self.context.gather(progress.microbatches)
        tensors = whole(state_tensors(self.learner), self.context)
        if self.context.is_main:
            progress = dataclasses.replace(progress, microbatches=microbatches)
            # The state last: to go on from it takes the agent's tokenizer.
            self._save_agent(self.config.run, weights_in(tensors))
            save_state(self.config.run, tensors, progress)
        self.context.any(False)  # nobody leaves before all is on disk

    def _save_agent(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the agent alone; where they are split, with the weights that were gathered."""
        model: Any = self.learner.acting
        if self.split:
            model = Gato(self.agent.model.config)
            model.load_state_dict(weights)
        model = merged(model) if self.config.lora_rank else model
        dataclasses.replace(self.agent, model=model).save_pretrained(folder)

    def _step(self, batches: list[Batch], step: int, lr: float) -> StepResult:
        """Update the weights once, from this process's microbatches."""
        num_sources = len(self.mixture.names)
        # Sum, then divide by the global target count: ranks hold different numbers of targets.
        counted = sum(self._counted[b.targets.sources[b.targets.loss_mask]].sum() for b in batches)
        total = self.context.sum(torch.as_tensor(counted).to(self.context.device)).clamp(min=1)
        sums = torch.zeros(2, num_sources, dtype=torch.float64, device=self.context.exact_device)
        tokens = sum(int((batch.inputs.segments > 0).sum()) for batch in batches)
        self.optimizer.zero_grad(set_to_none=True)
        self._accumulate(batches, step, total, sums)
        self.context.sum_gradients(self.model.parameters(), on_the_way=self.split)
        norm: Any = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.config.optimizer.max_norm
        )
        norm = norm.full_tensor() if self.split else norm
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        counts = self.context.sum(torch.cat([sums.flatten(), sums.new_full((1,), tokens)]))
        norm = norm.to(counts.device).double()
        told = torch.cat([counts, norm[None]]).cpu()  # a GPU is waited for here alone
        loss_sums, target_counts = told[: 2 * num_sources].view(2, -1)
        result = StepResult(
            losses=loss_sums,
            targets=target_counts,
            tokens=int(told[-2]),
            grad_norm=float(told[-1]),
        )
        if result.is_finite:
            with autocast(self.context.device, self.config.precision):
                self.optimizer.step()
            if self.learner.averaged:
                self.learner.averaged.update(self.model, step + 1)
        return result

    def _accumulate(self, batches: list[Batch], step: int, total: Tensor, sums: Tensor) -> None:
        """Add each microbatch's gradients to those there are, and to `sums` what was lost."""
        for microbatch, batch in zip(self.microbatches, batches, strict=True):
            # Dropout and patch positions depend on seed, step and microbatch, not on who computes.
            torch.manual_seed(seed_of(self.config.seed, step, microbatch))
            batch = batch.to(self.context.device)
            with autocast(self.context.device, self.config.precision):
                losses = self.model(batch, self.config.loss)
            if self.split:  # gradients travel once a step
                self.model.set_requires_gradient_sync(microbatch == self.microbatches[-1])
            (losses.sum(self.weights) / total).backward()
            values = losses.values.detach().to(sums.device).double()
            ones = torch.ones_like(values)
            sums.index_add_(1, losses.sources.to(sums.device), torch.stack([values, ones]))

    def _fraction(self, progress: TrainingProgress) -> float:
        """Return how much of the budget is used up; the clock is the main process's."""
        if self.config.max_seconds is None:
            return progress.fraction(self.config)
        clock = torch.tensor(
            progress.seconds if self.context.is_main else 0.0, device=self.context.device
        )
        seconds = float(self.context.sum(clock))
        return dataclasses.replace(progress, seconds=seconds).fraction(self.config)

    def _writer(self, progress: TrainingProgress) -> AbstractContextManager[MetricsWriter | None]:
        """Open the metrics, in the process that reports."""
        if not self.context.is_main:
            return nullcontext()
        return closing(metrics_writer(self.config, from_step=progress.step))


def seed_of(*numbers: int) -> int:
    """Mix numbers into one seed, the same whatever Python's own hash does.

    >>> seed_of(0, 1, 2) == seed_of(0, 1, 2) != seed_of(0, 2, 1)
    True
    """
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0])


def target_weights(mixture: Mixture, balance: float) -> Float[Tensor, " sources"]:
    """Return how much a target of each source counts; 1 on average over the stream.

    With balance 1 it is the inverse of how many of the source's tokens are targets.
    """
    densities = torch.tensor([w.target_density for w in mixture.windows])
    targets = torch.tensor(mixture.shares) * densities
    weights = densities**-balance
    return weights * targets.sum() / (weights * targets).sum()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn what asks to stop into a flag; a second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def note(number: int) -> None:
        again = number == signal.SIGINT and number in asked
        asked.append(number)
        if again:
            raise KeyboardInterrupt

    with handled(note):
        yield lambda: bool(asked)
