"""Every path that a GPU takes, against the CPU's: forward, loss, gradients, acting, training."""

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import GREEDY, Sampling
from mugato.model.gato import Gato
from mugato.model.loss import LossConfig
from mugato.model.precision import autocast
from mugato.spec import spec_of
from mugato.tokens.batch import Batch
from mugato.tokens.packing import pack
from mugato.tokens.sequence import encode
from mugato.training.distributed import DistributedContext
from mugato.training.loop import run_training
from mugato.training.muon import orthogonal, orthogonal_each
from tests.agents import random_episode, tiny_agent, tiny_config, tiny_tokenizer
from tests.training.test_training import losses, make_config, prepare

OBSERVATION = spaces.Dict(
    image=spaces.Box(0, 255, (32, 48, 3), np.uint8), x=spaces.Box(-2, 2, (3,))
)
ACTION = spaces.MultiDiscrete([4, 5])
MODELS = ["rotary", "transformer-xl", "recurrent", "hf:gpt2"]
on_gpu = pytest.mark.gpu
GPU = torch.device("cuda")


def make_model(sequence_model: str) -> Gato:
    torch.manual_seed(0)
    sizes = {"width": 64, "head_size": 32, "context_length": 128}
    config = tiny_config(tiny_tokenizer().vocab, sequence_model=sequence_model, **sizes)
    return Gato(config).eval()  # in training places of patches are drawn


def make_batch() -> Batch:
    episodes = [random_episode(OBSERVATION, ACTION, 6 + i, seed=i) for i in range(4)]
    tokenizer = tiny_tokenizer()
    return pack([encode(e, spec, tokenizer) for e, spec in episodes], length=128)


def results(model: Gato, batch: Batch, config: LossConfig = LossConfig()) -> dict:
    found = model(batch, config)
    found.mean().backward()
    gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    return {"losses": found.values.detach().cpu(), **gradients}


def check_a_pass(name: str, *, compiled: bool) -> None:
    model, batch = make_model(name), make_batch()
    other = copy.deepcopy(model).to(GPU)
    if compiled:
        other.sequence_model.compile()
    expected, found = results(model, batch), results(other, batch.to(GPU))
    assert found.keys() == expected.keys()
    for at, values in expected.items():
        error = (found[at] - values).abs().max() / values.abs().max().clamp(min=1e-6)
        assert error < (1e-4 if at == "losses" else 2e-3), (at, float(error))


@on_gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_training_pass_is_the_cpus(name):
    check_a_pass(name, compiled=False)


@on_gpu
@pytest.mark.parametrize("name", MODELS)
def test_compiled_it_is_the_same(name):
    """In a process whose shapes are not checked: the compiler cannot see through that."""
    call = f"from tests.model.test_devices import check_a_pass as c; c({name!r}, compiled=True)"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@on_gpu
@pytest.mark.parametrize("name", MODELS)
def test_under_bf16_its_gradients_point_where_the_cpus_do_in_fp32(name):
    model, batch = make_model(name), make_batch()
    other = copy.deepcopy(model).to(GPU)
    expected = results(model, batch)
    with autocast(GPU, "bf16"):
        found = other(batch.to(GPU))
    found.mean().backward()
    ours = {n: p.grad.cpu() for n, p in other.named_parameters() if p.grad is not None}
    one, two = (torch.cat([g[n].flatten() for n in ours]) for g in (ours, expected))
    assert torch.cosine_similarity(one, two, dim=0) > 0.995


@on_gpu
def test_observations_are_scored_as_on_the_cpu():
    model, batch = make_model("rotary"), make_batch()
    config = LossConfig(observation_weight=0.1, label_smoothing=0.1)
    found = copy.deepcopy(model).to(GPU)(batch.to(GPU), config).sum()
    torch.testing.assert_close(found.cpu(), model(batch, config).sum(), rtol=1e-4, atol=1e-4)


@on_gpu
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [1, 5])
def test_it_acts_as_the_cpu_does(name, rows):
    spec = spec_of(OBSERVATION, ACTION)
    agent = tiny_agent({"task": spec}, context_length=64, sequence_model=name)
    there = dataclasses.replace(agent, model=copy.deepcopy(agent.model).to(GPU))
    inference = InferenceConfig(sampling=GREEDY, precision="fp32")
    OBSERVATION.seed(0)
    observations = [[OBSERVATION.sample() for _ in range(rows)] for _ in range(8)]
    taken = []
    for one in (agent, there):
        policy = BatchPolicy(one, task="task", num_rows=rows, inference=inference)
        taken.append([policy.select_actions(step) for step in observations])
    np.testing.assert_array_equal(np.array(taken[0]), np.array(taken[1]))


@on_gpu
def test_what_it_samples_is_legal_in_bf16():
    agent = tiny_agent({"task": spec_of(OBSERVATION, ACTION)}, context_length=64)
    agent = dataclasses.replace(agent, model=agent.model.to(GPU))
    inference = InferenceConfig(sampling=Sampling(temperature=3.0), precision="bf16")
    policy = BatchPolicy(agent, task="task", num_rows=6, inference=inference)
    for _ in range(6):
        for action in policy.select_actions([OBSERVATION.sample() for _ in range(6)]):
            assert ACTION.contains(action)


@on_gpu
def test_matrices_made_orthogonal_together_are_what_each_is_alone():
    torch.manual_seed(0)
    matrices = [torch.randn(shape) for shape in ((8, 8), (8, 16), (8, 8), (16, 8))]
    together = orthogonal_each([matrix.to(GPU) for matrix in matrices], 6)
    for found, matrix in zip(together, matrices, strict=True):
        torch.testing.assert_close(found.cpu(), orthogonal(matrix, 6), rtol=1e-3, atol=1e-3)


@on_gpu
def test_a_run_learns_what_the_cpus_does(tmp_path):
    runs = []
    for device in ("cpu", "cuda"):
        config = make_config(tmp_path / device)
        optimizer = dataclasses.replace(config.optimizer, muon_lr_factor=2.0, average_share=0.1)
        model = dataclasses.replace(config.model, dropout=0.0, stochastic_depth=0.0)
        config = dataclasses.replace(config, optimizer=optimizer, model=model)
        agent, mixture = prepare(config)
        context = DistributedContext(device=torch.device(device))
        run_training(config, agent, mixture, context)
        runs.append(losses(config.run))
    assert runs[1] == pytest.approx(runs[0], rel=0.02)
