"""`train.py`, which is there to be read and copied, does what `mugato train` does, to the bit."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mugato.agent import Agent
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.run import Events, run_in_processes
from tests.training.test_training import losses, make_config, prepare, run_training

pytestmark = pytest.mark.filterwarnings("ignore")
SCRIPT = Path(__file__).parents[2] / "train.py"


def script():
    found = importlib.util.spec_from_file_location("script", SCRIPT)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def weights(run: Path) -> dict[str, torch.Tensor]:
    return Agent.from_pretrained(run).model.state_dict()


def test_it_can_be_read_in_one_sitting():
    assert len(SCRIPT.read_text().splitlines()) <= 90


def test_its_losses_and_weights_are_those_of_the_loop_also_when_it_goes_on(tmp_path, capsys):
    optimizer = replace(make_config(tmp_path).optimizer, muon_lr_factor=2.0, average_share=0.1)
    config = make_config(tmp_path / "loop", balance=0.5)
    config = replace(config, optimizer=optimizer)
    run_training(config)
    mine, here = replace(config, run=tmp_path / "script"), DistributedContext()
    script().train(mine, *prepare(mine), here, resume=False)
    said = [float(x) for x in re.findall(r"loss (\S+)", capsys.readouterr().out)]
    assert len(said) == config.steps
    one, other = weights(config.run), weights(mine.run)
    assert all(torch.equal(one[name], other[name]) for name in one)
    run_training(replace(config, steps=9), resume=True)
    script().train(replace(mine, steps=9), *prepare(mine), here, resume=True)
    one, other = weights(config.run), weights(mine.run)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_says_the_losses_that_the_loop_says(tmp_path, capsys):
    config = make_config(tmp_path / "loop")
    run_training(config)
    mine = replace(config, run=tmp_path / "script")
    script().train(mine, *prepare(mine), DistributedContext(), resume=False)
    said = [float(x) for x in re.findall(r"loss (\S+)", capsys.readouterr().out)]
    assert said == pytest.approx(losses(config.run), rel=1e-5)


@pytest.mark.thorough
def test_two_processes_of_it_compute_what_one_does(tmp_path):
    config = make_config(tmp_path / "one")
    run_training(config)
    events = Events(lambda report: None, lambda line: None)
    run_in_processes(2, in_two, (str(tmp_path / "two"),), events)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-5, msg=name)


def in_two(run: str, events: Events) -> None:
    """Do what each of two processes does."""
    config = make_config(Path(run))
    with distributed_context() as here:
        script().train(config, *prepare(config), here, resume=False)
