"""What is seen of a run beside its scores: a trace, a tracker, what it would take."""

import dataclasses
import gzip
import json
import sys

import pytest
import torch

from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.training.estimate import estimates, flops_per_token, fresh_shapes
from mugato.training.presets import preset
from mugato.training.profiling import TRACE
from mugato.training.run_info import read_metrics
from tests.training.test_training import make_config, run_training

pytestmark = pytest.mark.filterwarnings("ignore")
# What both packages give, as far as a run asks for it; it writes down what it is told.
TRACKER = """
import json, pathlib
class Run:
    def __init__(self, **options): self.told = [options]
    def log(self, values, step): self.told.append([step, values])
    def finish(self): pathlib.Path({path!r}).write_text(json.dumps(self.told))
def init(**options): return Run(**options)
"""


def test_a_trace_of_some_steps_is_written(tmp_path):
    run_training(dataclasses.replace(make_config(tmp_path), steps=11, profile=True))
    trace = json.loads(gzip.decompress((tmp_path / TRACE).read_bytes()))
    names = {event.get("name", "") for event in trace["traceEvents"]}
    assert any("addmm" in name or "mm" in name for name in names)
    assert len(read_metrics(tmp_path)) == 11


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_told_what_the_folder_is(name, tmp_path, monkeypatch):
    told = tmp_path / "told.json"
    (tmp_path / f"{name}.py").write_text(TRACKER.format(path=str(told)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    config = dataclasses.replace(make_config(tmp_path / "run"), tracker=name)
    run_training(config)
    begun, *steps = json.loads(told.read_text())
    assert begun["project"] == "mugato" and begun["name"] == "run"
    assert begun["config"]["steps"] == config.steps
    reports = read_metrics(config.run)
    assert [step for step, _ in steps] == [report["step"] for report in reports]
    assert [values["train/loss"] for _, values in steps] == [r["loss"] for r in reports]
    assert f"loss/{next(iter(reports[0]['losses']))}" in steps[0][1]


def test_a_tracker_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"wandb cannot be imported .* 'mugato\[wandb\]'"):
        run_training(dataclasses.replace(make_config(tmp_path), tracker="wandb"))


def test_shapes_alone_have_the_papers_parameters():
    model = fresh_shapes(GatoConfig.large())
    assert all(p.is_meta for p in model.parameters())
    assert 1.15e9 < model.num_parameters < 1.2e9


def test_operations_are_those_that_pytorch_counts():
    """Its counter sees every product of a pass forward and back over rows without pictures."""
    from torch.utils.flop_counter import FlopCounterMode

    config = dataclasses.replace(GatoConfig.micro(), output_projection=False, context_length=64)
    model = Gato(config)
    x = torch.randn(2, 64, config.width, requires_grad=True)
    places = torch.arange(64).expand(2, 64)
    with FlopCounterMode(display=False) as counter:
        hidden, _ = model.sequence_model(x, places, torch.ones_like(places))
        (hidden @ model.embedding.table.weight.T).sum().backward()
    counted = counter.get_total_flops() / 128
    assert flops_per_token(model) == pytest.approx(counted, rel=0.1)


def test_split_weights_take_less_of_each_and_more_gpus_less_time():
    config = preset("large")
    model, found = estimates(config)
    assert [one.devices for one in found] == [1, 2, 4, 8, 16, 32, 64]
    assert {one.weights_gib for one in found} == {16 * model.num_parameters / 2**30}
    assert found[-1].hours == pytest.approx(found[0].hours / 64)
    _, split = estimates(dataclasses.replace(config, shards=8))
    assert [one.devices for one in split] == [8, 16, 32, 64]
    assert split[0].weights_gib == pytest.approx(found[0].weights_gib / 8)


def test_operations_of_a_hugging_face_model_are_counted_too():
    small = preset("small").model
    gpt2 = fresh_shapes(dataclasses.replace(small, sequence_model="hf:gpt2"))
    assert flops_per_token(gpt2) == pytest.approx(flops_per_token(fresh_shapes(small)), rel=0.25)


def test_by_the_clock_no_time_is_told_and_batches_must_divide():
    config = dataclasses.replace(preset("demo"), max_tokens=None, microbatches=6, batch_rows=12)
    _, found = estimates(config)
    assert [one.devices for one in found] == [1, 2] and found[0].hours is None
