"""Split over processes, a run computes what it does in one, and goes on in another number."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.agent import Agent
from mugato.data.mixture import Mixture
from mugato.data.source import EpisodeList
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.loop import run_training
from mugato.training.run import Events, as_restarted, run_in_processes
from mugato.training.run_folder import note_job
from tests.agents import random_episode, tiny_agent
from tests.data.test_mixture import control_source, make_windows, text_source
from tests.training.test_training import dataset, losses, make_config

pytestmark = pytest.mark.filterwarnings("ignore")
ALONE = DistributedContext()


def picture_source() -> EpisodeList:
    space = spaces.Box(0, 255, (16, 32, 3), np.uint8)
    pairs = [random_episode(space, spaces.Discrete(3), 3, seed) for seed in range(4)]
    episodes = [episode for episode, _ in pairs]
    return EpisodeList(name="pictures", spec=pairs[0][1], episodes=episodes)


def config_of(run: Path, *, shards: int = 1, steps: int = 6) -> TrainConfig:
    """Four microbatches of one row: some have pictures, others but text."""
    names = tuple(map(dataset, ("control", "pictures", "text")))
    config = make_config(run)
    constant = dataclasses.replace(config.optimizer, final_fraction=1.0)  # whatever the budget is
    return dataclasses.replace(
        config, datasets=names, microbatches=4, shards=shards, steps=steps, save_every=3,
        optimizer=constant,
    )  # fmt: skip


def train(config: TrainConfig, kind: str, context: DistributedContext, resume: bool) -> None:
    sources = [control_source("control", 6, 50), picture_source(), text_source()]
    specs = {source.name: source.spec for source in sources}
    agent = tiny_agent(specs, seed=config.seed, dropout=0.1, num_layers=3, sequence_model=kind)
    mixture = Mixture(
        make_windows(sources), weights={"control": 1.0, "pictures": 0.5, "text": 2.0},
        num_rows=4, row_length=64, num_microbatches=4, seed=config.seed,
    )  # fmt: skip
    run_training(config, agent, mixture, context, resume=resume)


def in_one_of_several(
    run: str, shards: int, steps: int, kind: str, resume: bool, events: Events
) -> None:
    with distributed_context() as context:
        train(config_of(Path(run), shards=shards, steps=steps), kind, context, resume)


def in_processes(count: int, run: Path, *, shards: int, steps: int = 6, resume: bool = False,
                 kind: str = "rotary") -> None:  # fmt: skip
    arguments = (str(run), shards, steps, kind, resume)
    run_in_processes(count, in_one_of_several, arguments, Events(print, print))


def assert_the_same(one: Path, other: Path, *, kind: str = "rotary") -> None:
    """Compare losses, and weights but for those that have no gradient but rounding.

    AdamW makes it as long as any other: of keys' biases, and of much that projects distances.
    """
    assert losses(other) == pytest.approx(losses(one), rel=1e-5)
    ours, theirs = (Agent.from_pretrained(run).model.state_dict() for run in (one, other))
    for name, value in ours.items() if kind == "rotary" else ():
        if not name.endswith("bias"):
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "kind", ["rotary", pytest.param("transformer-xl", marks=pytest.mark.thorough)]
)
def test_two_halves_compute_what_one_does(tmp_path, kind):
    train(config_of(tmp_path / "one"), kind, ALONE, False)
    in_processes(2, tmp_path / "two", shards=2, kind=kind)
    assert_the_same(tmp_path / "one", tmp_path / "two", kind=kind)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["rotary", "transformer-xl"])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_four_processes_do_whether_they_share_or_not(tmp_path, kind, shards):
    """Replicated, two groups of two, and split over all."""
    train(config_of(tmp_path / "one", steps=20), kind, ALONE, False)
    in_processes(4, tmp_path / "four", shards=shards, kind=kind, steps=20)
    assert_the_same(tmp_path / "one", tmp_path / "four", kind=kind)


@pytest.mark.thorough
def test_it_goes_on_in_another_number_of_processes(tmp_path):
    train(config_of(tmp_path / "one", steps=9), "rotary", ALONE, False)
    run = tmp_path / "many"
    in_processes(2, run, shards=2, steps=3)
    in_processes(4, run, shards=4, steps=6, resume=True)
    train(config_of(run, steps=9), "rotary", ALONE, True)
    assert_the_same(tmp_path / "one", run)


@pytest.mark.thorough
def test_if_one_process_was_started_again_all_go_on(tmp_path):
    """A machine that is new in the group does not know that the others have trained before."""
    found = run_in_processes(2, asked_to_go_on, (str(tmp_path),), Events(print, print))
    assert found == [(False, True), (False, True)]


def asked_to_go_on(run: str, events: Events) -> list[tuple[bool, bool]]:
    with distributed_context() as context:
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(context.rank)
        os.environ["TORCHELASTIC_RUN_ID"] = "mine"
        if context.is_main:
            note_job(Path(run))
        own = as_restarted(Path(run), False, False, context)
        return list(context.gather(tuple(own if i == context.rank else None for i in range(2))))


def test_what_cannot_be_split_is_refused(tmp_path):
    config = config_of(tmp_path)
    muon = dataclasses.replace(config.optimizer, muon_lr_factor=2.0)
    with pytest.raises(ValueError, match="shards=2 goes with AdamW and without averaged weights"):
        dataclasses.replace(config, shards=2, optimizer=muon)
    recurrent = dataclasses.replace(config.model, sequence_model="recurrent")
    with pytest.raises(ValueError, match="a recurrent sequence model computes its blocks piece"):
        dataclasses.replace(config, shards=2, model=recurrent)
    with pytest.raises(ValueError, match="shards=2 does not divide the 1 processes that train"):
        train(dataclasses.replace(config, shards=2), "rotary", ALONE, False)
