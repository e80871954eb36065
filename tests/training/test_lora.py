"""Adapters: nothing at first, all that is learned, gone when the agent is written."""

import dataclasses

import pytest
import torch

from mugato.agent import Agent
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.loop import run_training
from mugato.training.lora import add_adapters, merged
from tests.agents import tiny_agent
from tests.training.test_sharding import picture_source
from tests.training.test_training import make_config, prepare

pytestmark = pytest.mark.filterwarnings("ignore")
ALONE = DistributedContext()


def with_adapters(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, lora_rank=4, init_from=config.run / "known")


def model_of(**changes):
    return tiny_agent({"look": picture_source().spec}, **changes).model


def test_they_begin_as_nothing_and_are_a_few_per_cent():
    torch.manual_seed(0)
    model, plain = model_of(), model_of()
    add_adapters(model, 2)
    x, places = torch.randn(1, 6, 32), torch.arange(6)[None]
    ones = torch.ones_like(places)
    torch.testing.assert_close(
        model.sequence_model(x, places, ones)[0], plain.sequence_model(x, places, ones)[0]
    )
    learned = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learned and all("lora_" in name for name in learned)


def test_merged_it_computes_the_same_and_has_the_names_of_any_other():
    model = model_of()
    names = set(model.state_dict())
    add_adapters(model, 2)
    for name, p in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.3)
    x, places = torch.randn(1, 6, 32), torch.arange(6)[None]
    before = model.sequence_model(x, places, torch.ones_like(places))[0]
    found = merged(model)
    after = found.sequence_model(x, places, torch.ones_like(places))[0]
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    assert set(found.state_dict()) == names
    assert all(p.requires_grad for p in found.parameters())
    assert any("lora_" in name for name in model.state_dict())  # which learns on


def test_a_run_learns_them_alone_and_resumes_to_the_bit(tmp_path):
    config = with_adapters(make_config(tmp_path))
    agents = {}
    for name, parts in (("straight", (6,)), ("stopped", (3, 6))):
        for steps in parts:
            constant = dataclasses.replace(config.optimizer, final_fraction=1.0)
            mine = dataclasses.replace(config, run=tmp_path / name, steps=steps, optimizer=constant)
            agent, mixture = prepare(mine)
            fresh = {n: p.clone() for n, p in agent.model.state_dict().items()}
            run_training(mine, agent, mixture, ALONE, resume=steps != parts[0])
        agents[name] = Agent.from_pretrained(tmp_path / name).model.state_dict()
    changed = {n for n, p in agents["straight"].items() if not torch.equal(p, fresh[n])}
    ends = ("qkv.weight", "out.weight", "up.weight", "down.weight")
    assert changed and all(name.endswith(ends) for name in changed)
    for name, value in agents["straight"].items():
        assert torch.equal(value, agents["stopped"][name]), name


def test_what_has_no_place_for_them_is_refused(tmp_path):
    with pytest.raises(ValueError, match="which a 'hf:gpt2' sequence model does not have"):
        add_adapters(model_of(sequence_model="hf:gpt2"), 2)
    config = make_config(tmp_path)
    with pytest.raises(ValueError, match=r"lora_rank=4: .* that init_from names"):
        dataclasses.replace(config, lora_rank=4)
    muon = dataclasses.replace(config.optimizer, muon_lr_factor=2.0)
    with pytest.raises(ValueError, match=r"with AdamW \(optimizer.muon_lr_factor=0\)"):
        dataclasses.replace(with_adapters(config), optimizer=muon)
