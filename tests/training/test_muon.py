"""Muon: against the singular value decomposition and PyTorch's own; resumes; many equal one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.training.checkpoint import STATE
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.muon import POLYNOMIALS, SAFETY, orthogonal
from mugato.training.optimizer import OptimizerConfig, make_optimizer
from mugato.training.presets import PRESETS
from mugato.training.run import Events, run_in_processes
from tests.training.test_training import (
    assert_the_same,
    make_config,
    run_training,
    stop_after,
)

pytestmark = pytest.mark.filterwarnings("ignore")
MUON = OptimizerConfig(lr=3e-3, warmup_steps=2, muon_lr_factor=2.0, muon_iterations=5)


def muon_config(run: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(make_config(run, **changes), optimizer=MUON)


def distributed(run: str, events: Events) -> None:
    with distributed_context() as context:
        run_training(muon_config(Path(run)), context)


@pytest.mark.parametrize("shape", [(32, 32), (64, 24), (24, 64)])
def test_all_directions_become_about_equally_long_and_none_turns(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix, 8)
    lengths = torch.diag(u.T @ found @ v.T)
    assert ((lengths > 0.6) & (lengths < 1.3)).all()
    torch.testing.assert_close(u @ torch.diag(lengths) @ v, found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(48, 48), (32, 128), (256, 64), (3, 16, 64)])
def test_it_is_the_polynomial_of_each_singular_value_be_they_a_thousand_times_apart(shape):
    """In fp64, one value after the other; wide matrices go another way than square ones."""
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(0, -3, shape[-1])
    found = orthogonal(matrix, 4)
    u, values, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm(dim=-1, keepdim=True) / SAFETY
    for a, b, c in POLYNOMIALS[:4]:
        values = a * values + b * values**3 + c * values**5
    expected = u @ (values[..., None] * v)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)


def test_a_step_is_that_of_pytorchs_muon_on_each_matrix():
    """Queries, keys and values are three. PyTorch's has one set of coefficients, and bf16."""
    torch.manual_seed(0)
    model = Gato(GatoConfig.micro())
    ours = make_optimizer(model, dataclasses.replace(MUON, weight_decay=0.1))
    qkv = model.sequence_model.blocks[0].mixer.heads.qkv.weight
    theirs = [part.clone().requires_grad_() for part in qkv.detach().chunk(3)]
    other = torch.optim.Muon(
        theirs, lr=2 * MUON.lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        assert qkv.grad is not None
        for part, grad in zip(theirs, qkv.grad.chunk(3), strict=True):
            part.grad = grad.clone()
        before, others_before = qkv.detach().clone(), torch.cat([t.detach() for t in theirs])
        ours.step()
        other.step()
    change = qkv.detach() - before
    expected = torch.cat([t.detach() for t in theirs]) - others_before
    assert torch.nn.functional.cosine_similarity(change.flatten(), expected.flatten(), 0) > 0.95
    assert change.norm() == pytest.approx(float(expected.norm()), rel=0.2)


def test_seven_iterations_give_the_polar_factor_and_under_autocast_nearly():
    torch.manual_seed(0)
    matrix = torch.randn(64, 32)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(orthogonal(matrix, 7), u @ v, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = orthogonal(matrix, 7)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, u @ v, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("iterations", [4, 5, 7, 9])
def test_under_autocast_no_direction_grows_however_many_iterations(iterations):
    """Rounding leaves singular values above 1; what the polynomials make of those diverges."""
    generator = torch.Generator().manual_seed(21)
    for shape in [(32, 128), (64, 64), (128, 32)] * 8:
        matrix = torch.randn(shape, generator=generator)
        for spread in (torch.ones(shape[1]), torch.logspace(0, -3, shape[1])):
            with torch.autocast("cpu", torch.bfloat16):
                found = orthogonal(matrix * spread, iterations)
            assert float(torch.linalg.matrix_norm(found, 2)) < 1.7


def test_a_closure_is_refused():
    model = Gato(GatoConfig.micro())
    with pytest.raises(ValueError, match="takes no closure"):
        make_optimizer(model, MUON).step(lambda: 0.0)
    with pytest.raises(ValueError, match="muon_iterations must be at least 1, got 0"):
        dataclasses.replace(MUON, muon_iterations=0)


@pytest.mark.thorough
def test_a_run_with_muon_resumes_to_the_bit(tmp_path):
    run_training(muon_config(tmp_path / "whole"))
    config = muon_config(tmp_path / "stopped")
    stop_after(config, 3)
    run_training(config, resume=True)
    whole, stopped = (
        safetensors.torch.load_file(tmp_path / name / STATE) for name in ("whole", "stopped")
    )
    assert any(name.endswith("momentum_buffer") for name in whole)
    assert whole.keys() == stopped.keys()
    for name, value in whole.items():
        assert torch.equal(value, stopped[name]), name


@pytest.mark.thorough
def test_two_processes_with_muon_compute_what_one_does(tmp_path):
    run_training(muon_config(tmp_path / "one"))
    run_in_processes(2, distributed, (str(tmp_path / "two"),), Events(print, print))
    assert_the_same(tmp_path)


def test_the_papers_presets_keep_the_papers_optimiser():
    for name in ("mini", "small", "baseline", "large"):
        model = Gato(GatoConfig.micro())
        optimizer = make_optimizer(model, PRESETS[name]().optimizer, DistributedContext())
        assert type(optimizer) is torch.optim.AdamW
