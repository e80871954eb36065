"""What is held out is not trained on, is told while a run goes on, and chooses what is kept."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.agent import Agent
from mugato.data.mixture import Mixture
from mugato.data.source import EpisodeList, SomeEpisodes
from mugato.training.distributed import DistributedContext, distributed_context
from mugato.training.held_out import HeldOut, is_best
from mugato.training.loop import run_training
from mugato.training.run import Events, run_in_processes
from mugato.training.run_folder import BEST, BEST_LOSS, begin, holds_run
from mugato.training.run_info import read_metrics
from mugato.training.setup import make_windows
from tests.agents import random_episode, tiny_agent, tiny_config, tiny_tokenizer
from tests.training.test_training import dataset, make_config

pytestmark = pytest.mark.filterwarnings("ignore")
TOKENIZER = tiny_tokenizer()


def source_of(seeds: range, name: str = "walk") -> EpisodeList:
    space, choice = spaces.Box(-1, 1, (3,)), spaces.Discrete(4)
    pairs = [random_episode(space, choice, 8, seed) for seed in seeds]
    return EpisodeList(name=name, spec=pairs[0][1], episodes=[episode for episode, _ in pairs])


def config_of(run: Path, **changes):
    changes = {"steps": 12, "evaluate_every": 3, "held_out": 0.25, "log_every": 5, **changes}
    config = dataclasses.replace(make_config(run), datasets=(dataset("walk"),), **changes)
    return dataclasses.replace(config, model=tiny_config(TOKENIZER.vocab))


def train(config, context: DistributedContext = DistributedContext(), resume: bool = False):
    agent = tiny_agent({"walk": source_of(range(1)).spec}, seed=config.seed, dropout=0.1)
    windows = make_windows(config, {"walk": source_of(range(6))}, TOKENIZER)
    mixture = Mixture(
        windows, weights="uniform", num_rows=4, row_length=64,
        num_microbatches=config.microbatches, seed=0,
    )  # fmt: skip
    held_out = HeldOut.of(config, {"walk": source_of(range(100, 103))}, TOKENIZER)
    run_training(config, agent, mixture, context, resume=resume, held_out=held_out)


def told(run: Path) -> dict[int, float]:
    return {r["step"]: r["held_out"]["walk"] for r in read_metrics(run) if r["held_out"]}


def test_some_episodes_are_those_of_the_source():
    source = source_of(range(6))
    part = SomeEpisodes(source, range(4, 6))
    assert len(part) == 2 and part[1] is source[5]
    window = part.window(0, 2, 5)
    np.testing.assert_array_equal(window.actions["action"], source[4].actions["action"][2:5])
    with pytest.raises(IndexError):
        part[2]
    with pytest.raises(ValueError, match="walk has 6 episodes, not 7"):
        SomeEpisodes(source, range(7))


def test_it_is_told_when_due_and_the_best_is_kept(tmp_path):
    train(config_of(tmp_path))
    losses = told(tmp_path)
    assert list(losses) == [3, 6, 9, 12]
    assert [r["step"] for r in read_metrics(tmp_path)] == [3, 5, 6, 9, 10, 12]
    note = json.loads((tmp_path / BEST / BEST_LOSS).read_text())
    assert note["loss"] == min(losses.values()) == losses[note["step"]]


def test_what_is_told_is_the_kept_agents_own_loss(tmp_path):
    config = config_of(tmp_path)
    train(config)
    agent = Agent.from_pretrained(tmp_path / BEST)
    held_out = HeldOut.of(config, {"walk": source_of(range(100, 103))}, TOKENIZER)
    assert held_out is not None
    found = held_out.losses(agent.model, torch.device("cpu"), "fp32")
    note = json.loads((tmp_path / BEST / BEST_LOSS).read_text())
    assert found["walk"] == pytest.approx(note["loss"], rel=1e-6)


def test_looking_changes_nothing(tmp_path):
    train(config_of(tmp_path / "looked"))
    train(config_of(tmp_path / "not", evaluate_every=1000))
    one, other = (
        Agent.from_pretrained(tmp_path / name).model.state_dict() for name in ("looked", "not")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_that_goes_on_keeps_the_better_one(tmp_path):
    train(config_of(tmp_path, steps=6))
    (tmp_path / BEST / BEST_LOSS).write_text(json.dumps({"loss": 0.5, "step": 3}))
    before = (tmp_path / BEST / "model.safetensors").read_bytes()
    train(config_of(tmp_path, steps=12), resume=True)
    assert (tmp_path / BEST / "model.safetensors").read_bytes() == before
    (tmp_path / BEST / "mine.txt").write_text("kept")
    begin(config_of(tmp_path))
    assert not (tmp_path / BEST / BEST_LOSS).exists() and not holds_run(tmp_path)
    assert (tmp_path / BEST / "mine.txt").exists()


def test_what_is_not_a_number_is_never_best(tmp_path):
    assert not is_best(tmp_path, {"walk": float("nan")}) and is_best(tmp_path, {"walk": 3.0})


def test_the_end_is_looked_at_too(tmp_path):
    train(config_of(tmp_path, steps=4))
    assert list(told(tmp_path)) == [3, 4]


@pytest.mark.thorough
def test_two_halves_of_a_model_tell_what_one_does(tmp_path):
    train(config_of(tmp_path / "one"))
    run_in_processes(2, in_two, (str(tmp_path / "two"),), Events(print, print))
    assert list(told(tmp_path / "two").values()) == pytest.approx(
        list(told(tmp_path / "one").values()), rel=1e-4
    )
    assert (tmp_path / "two" / BEST / "model.safetensors").exists()


def in_two(run: str, events: Events) -> None:
    with distributed_context() as context:
        train(config_of(Path(run), shards=2), context)
