"""Devices by name: what is there is taken, what is not is refused, and nobody assumes CUDA."""

import pytest
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.policy import Policy
from mugato.cli.generate import GenerateConfig, generate
from mugato.cli.play import play
from mugato.evaluation.config import EvaluationConfig, inference_config
from mugato.evaluation.episodes import most_envs
from mugato.model.devices import find_device
from mugato.model.gato import Gato
from mugato.model.precision import autocast, wants_bf16
from mugato.spec import spec_of
from mugato.tokens.packing import pack
from mugato.training.distributed import distributed_context
from mugato.training.optimizer import OptimizerConfig, make_optimizer
from mugato.training.run import num_processes
from tests.agents import tiny_agent, tiny_config
from tests.tokens.test_sequence import ACTION, SCENE, TOKENIZER, encode
from tests.training.test_training import make_config

MPS = torch.device("mps")


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def apple(no_gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.parametrize("name", ["mps", "cuda", "cuda:1", "gpu", "meta", ""])
def test_what_is_not_there_is_refused(no_gpu, name):
    with pytest.raises(ValueError, match=f"there is no device '{name}' here, only cpu"):
        find_device(name)


def test_what_is_there_is_taken(two_gpus):
    assert find_device() == torch.device("cuda") and find_device("cpu") == torch.device("cpu")
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="no device 'cuda:2' here, only cpu, cuda:0, cuda:1"):
        find_device("cuda:2")


def test_an_apple_gpu_has_to_be_named(apple):
    assert find_device() == torch.device("cpu") and find_device("mps") == MPS
    config = inference_config(EvaluationConfig(device="mps"))
    assert (config.device, config.precision) == ("mps", "fp32") and most_envs(config) == 64
    assert not wants_bf16("auto", MPS)
    with autocast(MPS, "auto"):  # a context that does nothing, wherever it is entered
        assert not torch.is_autocast_enabled("mps")


def test_who_evaluates_takes_the_gpu_that_is_named(two_gpus):
    assert inference_config(EvaluationConfig()).device == "cuda"
    config = inference_config(EvaluationConfig(device="cuda:1"))
    assert (config.device, config.precision) == ("cuda:1", "bf16") and most_envs(config) == 64
    assert inference_config(EvaluationConfig(device="cpu")).device == "cpu"


def test_who_trains_takes_the_device_that_is_named(two_gpus, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert num_processes(make_config(tmp_path)) == 1
    assert num_processes(make_config(tmp_path, device="cpu")) == 2
    for device, there in {"auto": "cuda:0", "cuda:1": "cuda:1", "cpu": "cpu"}.items():
        with distributed_context(device) as context:
            assert str(context.device) == there == str(context.exact_device)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="cannot share cuda:1"), distributed_context("cuda:1"):
        pass


def test_exact_sums_of_an_apple_gpu_are_kept_on_the_processor(apple, monkeypatch):
    with distributed_context("mps") as context:
        assert (context.device, context.exact_device) == (MPS, torch.device("cpu"))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="cannot share mps"), distributed_context("mps"):
        pass


def test_every_command_that_has_a_device_refuses_one_that_is_not_there(no_gpu, tmp_path):
    from mugato.cli.ablate import ablate
    from mugato.cli.tune import tune
    from mugato.data.config import DatasetConfig
    from mugato.evaluation.finetuning import FinetuneConfig, training
    from mugato.training.run import train_part

    agent = tiny_agent({"walk": spec_of(spaces.Discrete(3), spaces.Discrete(2))})
    agent.save_pretrained(tmp_path / "agent")
    refused = pytest.raises(ValueError, match="no device 'mps' here")
    with refused:
        Policy.from_pretrained(
            tmp_path / "agent", task="walk", inference=InferenceConfig(device="mps")
        )
    with refused:
        generate("to be", config=GenerateConfig(agent=tmp_path / "agent", device="mps"))
    with refused:
        play("walk", agent=tmp_path / "agent", device="mps")
    with refused:
        inference_config(EvaluationConfig(device="mps"))
    for command in (tune, ablate):
        with refused:
            command(tmp_path / "agent", device="mps")
    config = FinetuneConfig(device="mps", episodes=(0,))
    assert training(tmp_path / "agent", DatasetConfig(name="walk"), config, episodes=0,
                    start="agent", seed=0).device == "mps"  # fmt: skip
    with refused:
        train_part(make_config(tmp_path / "run", device="mps"))


class Float64(TorchDispatchMode):
    """Notes every operation that gives float64."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in tree_leaves(out)):
            self.found.add(str(func))
        return out


@pytest.mark.parametrize("name", ["rotary", "transformer-xl", "recurrent"])
def test_what_runs_on_the_device_is_without_float64(name):
    torch.manual_seed(0)
    model = Gato(tiny_config(TOKENIZER.vocab, sequence_model=name, context_length=128))
    optimizer = make_optimizer(model.train(), OptimizerConfig(muon_lr_factor=2.0))
    agent = tiny_agent({"scene": spec_of(SCENE, ACTION)}, sequence_model=name)
    policy = Policy(agent, task="scene")
    batch = pack([encode(timesteps=3)], length=128)
    with Float64() as mode:
        model(batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        policy.select_action(SCENE.sample())
    assert not mode.found
