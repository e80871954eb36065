"""A loss that is not finite changes no weight, is counted, and ends a run before it is lost."""

import dataclasses
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mugato.acting.sampling import row_generator, sample
from mugato.agent import GREEDY, Agent, Sampling
from mugato.training import loop
from mugato.training.checkpoint import read_progress
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.loop import run_training as run_loop
from mugato.training.run import Events, run_in_processes
from mugato.training.run_info import read_metrics
from tests.training.test_training import make_config, prepare

pytestmark = pytest.mark.filterwarnings("ignore")


def spoiled(agent: Agent, steps: range, per_step: int = 2) -> list[dict]:
    """Make the gradient of some steps NaN, and return the weights before every step."""
    weight, calls, before = next(agent.model.parameters()), [0], list[dict]()

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        step, part = divmod(calls[0], per_step)
        calls[0] += 1
        if part == 0:
            before.append({n: w.detach().clone() for n, w in agent.model.named_parameters()})
        return gradient * math.nan if step in steps else gradient

    weight.register_hook(spoil)
    return before


def train(run: Path, steps: range, context=DistributedContext(), *, resume=False, **changes):
    config = dataclasses.replace(make_config(run), steps=6, **changes)
    agent, mixture = prepare(config)
    before = spoiled(agent, steps, 2 // context.world_size)
    return run_loop(config, agent, mixture, context, resume=resume), before


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_spoiled_step_leaves_the_weights_as_they_were_and_is_counted(tmp_path):
    progress, weights = train(tmp_path, range(2, 4))
    assert (progress.step, progress.skipped) == (6, 2)
    assert same(weights[2], weights[3]) and same(weights[3], weights[4])
    assert not same(weights[4], weights[5])
    reports = read_metrics(tmp_path)
    assert [(r["step"], r["skipped"]) for r in reports] == [(1, 0), (2, 0), (5, 2), (6, 2)]
    assert all(math.isfinite(report["loss"]) for report in reports)
    assert read_progress(tmp_path).skipped == 2


@pytest.mark.thorough
def test_all_processes_skip_what_one_of_them_spoils(tmp_path):
    train(tmp_path / "one", range(1, 3))
    run_in_processes(2, spoiled_at_the_second, (str(tmp_path / "two"),), Events(print, print))
    one, two = (Agent.from_pretrained(tmp_path / name).model for name in ("one", "two"))
    for (name, value), other in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-5, msg=name)


def spoiled_at_the_second(run: str, events: Events) -> None:
    with distributed_context() as context:
        progress, _ = train(Path(run), range(1, 3) if context.rank else range(0), context)
        assert progress.skipped == 2


def test_many_in_a_row_end_the_run_with_the_last_good_state_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPPED", 5)
    good, _ = train(tmp_path / "good", range(0), max_seconds=None)
    with pytest.raises(ValueError, match="in 5 steps in a row, the last of them 8"):
        train_on = dataclasses.replace(make_config(tmp_path / "bad"), steps=99, save_every=10)
        agent, mixture = prepare(train_on)
        spoiled(agent, range(3, 99))
        run_loop(train_on, agent, mixture, DistributedContext())
    kept = read_progress(tmp_path / "bad")
    assert (kept.step, kept.skipped) == (3, 0)
    train(tmp_path / "bad", range(0), resume=True)
    one, two = (Agent.from_pretrained(tmp_path / n).model.state_dict() for n in ("good", "bad"))
    assert good.step == 6 and one.keys() == two.keys()
    assert read_metrics(tmp_path / "bad")[-1]["step"] == 6


def test_without_one_good_step_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MAX_SKIPPED", 3)
    with pytest.raises(ValueError, match=r"3 steps in a row, the last of them 3; no state"):
        train(tmp_path, range(99))
    assert not (tmp_path / "model.safetensors").exists()
    assert read_metrics(tmp_path) == []


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path):
    train(tmp_path, range(0))
    agent = Agent.from_pretrained(tmp_path)
    name, weight = next(iter(agent.model.named_parameters()))
    message = rf"{tmp_path}/model.safetensors: the weights {name} are not finite"
    saved = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        weight.view(-1)[3] = math.nan
    with pytest.raises(ValueError, match=message):
        agent.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == saved
    tensors = safetensors.torch.load(saved)
    tensors[name].view(-1)[3] = math.inf
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        Agent.from_pretrained(tmp_path)


def test_a_state_that_is_not_finite_is_not_gone_on_with(tmp_path):
    train(tmp_path, range(0))
    path = tmp_path / "training_state.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = {"progress": file.metadata()["progress"]}  # without the checksum
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = next(key for key in tensors if key.startswith("model."))
    tensors[name].fill_(math.nan)
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"training_state\.safetensors: the weights .* not finite"):
        train(tmp_path, range(0), resume=True)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(top_p=0.9)])
def test_nothing_is_sampled_from_logits_that_are_not_finite(wrong, sampling):
    logits = torch.zeros(2, 5)
    generators = [row_generator(0), row_generator(1)]
    assert len(sample(logits, sampling, generators)) == 2
    logits[0, 2] = -math.inf  # ruled out
    assert len(sample(logits, sampling, generators)) == 2
    logits[1, 2] = wrong
    with pytest.raises(ValueError, match="the model's logits are not finite"):
        sample(logits, sampling, generators)
