"""What the recipe adds to the paper's: averages, balanced sources, budgets."""

import copy
import dataclasses
import time

import pytest
import torch

from mugato.agent import Agent
from mugato.cli.train import foretold
from mugato.training import loop
from mugato.training.averaging import AveragedWeights
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.loop import target_weights
from mugato.training.metrics import StepReport
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import preset
from mugato.training.run_info import read_metrics
from tests.training.test_training import make_config, prepare, run_training, stop_after

pytestmark = pytest.mark.filterwarnings("ignore")


def averaging(run, **changes) -> TrainConfig:
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=2, average_share=0.5)
    return dataclasses.replace(make_config(run), optimizer=optimizer, **changes)


def test_an_average_is_that_of_the_last_share_of_the_steps():
    model = torch.nn.Linear(1, 1, bias=False)
    average, values = AveragedWeights(model, 0.1), torch.arange(1.0, 1001.0)
    for step, value in enumerate(values, start=1):
        model.weight.data.fill_(value)
        average.update(model, step)
    # Power-law weights t^9, normalised: their mean is 10/11 of the way.
    assert float(average.model.weight) == pytest.approx(1000 * 10 / 11, rel=0.01)
    assert not any(p.requires_grad for p in average.model.parameters())


@pytest.mark.thorough
def test_the_agent_has_the_averaged_weights_and_the_run_goes_on_to_the_bit(tmp_path):
    run_training(averaging(tmp_path / "whole"))
    stop_after(averaging(tmp_path / "parts"), 3)
    run_training(averaging(tmp_path / "parts"), resume=True)
    plain = run_training(make_config(tmp_path / "plain")).model.embedding.table.weight
    whole, parts = (
        Agent.from_pretrained(tmp_path / name).model.embedding.table.weight
        for name in ("whole", "parts")
    )
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, plain)
    # What learns is the same with and without an average beside it.
    assert [r["loss"] for r in read_metrics(tmp_path / "whole")] == [
        r["loss"] for r in read_metrics(tmp_path / "plain")
    ]


def test_who_looks_on_sees_the_agent_that_would_be_kept_and_costs_no_training_time(tmp_path):
    config, seen = averaging(tmp_path), []

    def look(progress, model):
        seen.append(copy.deepcopy(model.state_dict()))
        time.sleep(0.05)

    agent, mixture = prepare(config)
    begun = time.perf_counter()
    progress = loop.run_training(
        config, agent, mixture, DistributedContext(), watch=loop.Watch(on_acting=look)
    )
    assert progress.seconds <= time.perf_counter() - begun - 0.05 * len(seen)
    saved = Agent.from_pretrained(tmp_path).model.state_dict()
    assert len(seen) == config.steps
    assert all(torch.equal(seen[-1][name], saved[name]) for name in saved)


def test_averages_may_begin_when_a_run_goes_on(tmp_path):
    run_training(dataclasses.replace(make_config(tmp_path), steps=3))
    agent = run_training(averaging(tmp_path), resume=True)
    saved = Agent.from_pretrained(tmp_path)
    assert torch.equal(saved.model.embedding.table.weight, agent.model.embedding.table.weight)


def test_balance_gives_each_source_its_share_of_what_is_learned(tmp_path):
    _, mixture = prepare(make_config(tmp_path))
    assert target_weights(mixture, 0.0).tolist() == [1.0, 1.0, 1.0]
    weights = target_weights(mixture, 1.0)
    densities = torch.tensor([w.target_density for w in mixture.windows])
    assert densities.tolist() == pytest.approx([1 / 4, 1 / 8, 1.0])  # of text all are targets
    assert (weights * densities).tolist() == pytest.approx([float((weights * densities)[0])] * 3)
    counts, tokens, state = torch.zeros(3), 0, mixture.start()[0]
    for _ in range(25):
        batch, state = mixture.batch(0, state)
        sources = batch.targets.sources[batch.targets.loss_mask]
        counts += torch.bincount(sources, minlength=3)
        tokens += int((batch.inputs.segments > 0).sum())
    found = counts / tokens
    expected = torch.tensor(mixture.shares) * densities
    assert torch.allclose(found, expected, atol=0.02)  # the densities are those of the stream


def test_balanced_losses_are_the_weighted_mean(tmp_path):
    agent, mixture = prepare(make_config(tmp_path))
    batch, _ = mixture.batch(0, mixture.start()[0])
    losses = agent.model.eval()(batch)
    weights = target_weights(mixture, 0.5)
    pairs = zip(losses.sources.tolist(), losses.values.tolist(), strict=True)
    by_hand = sum(float(weights[source]) * value for source, value in pairs)
    assert float(losses.sum(weights)) == pytest.approx(by_hand, rel=1e-5)


def test_a_budget_of_tokens_ends_the_run_and_its_schedule(tmp_path):
    config = make_config(tmp_path)
    whole = dataclasses.replace(config, steps=None, max_tokens=1000)
    run_training(whole)
    last = read_metrics(tmp_path)[-1]
    assert 1000 <= last["tokens"] < 1000 + config.batch_rows * 64
    assert last["progress"] == pytest.approx(last["tokens"] / 1000)
    assert last["lr"] < 0.5 * config.optimizer.lr


def test_a_run_without_a_budget_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no budget: give steps, max_tokens or max_seconds"):
        dataclasses.replace(make_config(tmp_path), steps=None)


def test_what_the_time_allows_is_foretold():
    report = StepReport(
        step=9, loss=1.0, losses={}, lr=0.1, grad_norm=1.0, tokens=40_000, seconds=20.0,
        tokens_per_s=9e9, fill=1.0, progress=0.1, skipped=0,
    )  # fmt: skip
    config = dataclasses.replace(preset("demo"), max_seconds=690.0, max_tokens=16_000_000)
    assert foretold(report, config) == "At this pace about 1.4 M tokens in 690 s of training"
    config = dataclasses.replace(config, max_tokens=500_000)
    assert "about 0.50 M tokens" in foretold(report, config)
