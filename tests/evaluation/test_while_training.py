"""An agent that plays while it is trained is trained as one that does not."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import Agent
from mugato.corrections.rounds import train
from mugato.data.config import DatasetConfig
from mugato.evaluation.episodes import EpisodeRequest, play_episodes
from mugato.evaluation.while_training import Playing
from mugato.model.serialization import WEIGHTS
from mugato.recording.recorder import RecordConfig, record
from mugato.tasks.registry import TASKS
from mugato.tasks.task import TUNING_SEEDS
from mugato.training.metrics import read_metrics
from tests.corrections.training import make_config
from tests.tasks.conftest import minari_folder as minari_folder

pytestmark = pytest.mark.filterwarnings("ignore")
DATASETS = (DatasetConfig(name="cartpole"), DatasetConfig(name="taxi"))


@pytest.fixture
def recorded(minari_folder: Path) -> None:
    for dataset in DATASETS:
        record(TASKS[dataset.name], RecordConfig(episodes=4))


def config_of(run: Path, **changes):
    changes = {"steps": 5, "corrections": 0, "play_episodes": 2, "evaluate_every": 3, **changes}
    return make_config(run, datasets=DATASETS, **changes)


def returns(run: Path) -> dict[int, dict[str, float]]:
    return {r["step"]: r["returns"] for r in read_metrics(run) if r["returns"]}


def test_what_is_told_is_what_the_agent_reaches_and_the_weights_are_those_without(
    recorded: None, tmp_path: Path
):
    config = config_of(tmp_path / "played")
    train(config)
    train(config_of(tmp_path / "not", play_episodes=0))
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("played", "not"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not returns(tmp_path / "not")
    told = returns(config.run)
    assert list(told) == [3, 5] and set(told[5]) == {"cartpole", "taxi"}
    agent = Agent.from_pretrained(config.run)
    for name, value in told[5].items():
        requests = [EpisodeRequest(task=TASKS[name], seed=seed) for seed in TUNING_SEEDS[:2]]
        fp32 = InferenceConfig(precision="fp32")
        played = play_episodes(agent, requests, inference=fp32)
        assert value == pytest.approx(sum(p.episode_return for p in played) / 2)


@pytest.mark.thorough
def test_two_processes_play_what_one_does(recorded: None, tmp_path: Path):
    for count in (1, 2):
        train(config_of(tmp_path / str(count), processes=count))
    one, two = returns(tmp_path / "1"), returns(tmp_path / "2")
    assert one.keys() == two.keys() and set(two[5]) == {"cartpole", "taxi"}


def test_what_cannot_be_played_is_told_and_left_out(
    recorded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    config = config_of(tmp_path / "run", steps=3)

    def broken(**kwargs: object) -> None:
        raise ImportError("no such package")

    monkeypatch.setitem(TASKS, "taxi", dataclasses.replace(TASKS["taxi"], make_env=broken))
    train(config)
    assert set(returns(config.run)[3]) == {"cartpole"}
    assert "taxi is not played" in caplog.text and "no such package" in caplog.text


def test_playing_takes_something_to_play_and_whole_weights(tmp_path: Path):
    text = DatasetConfig(name="docs")
    with pytest.raises(ValueError, match="nothing that is trained on can be played"):
        Playing.of(dataclasses.replace(config_of(tmp_path), datasets=(text,)))
    with pytest.raises(ValueError, match="split weights cannot play"):
        config_of(tmp_path, shards=2, optimizer=dataclasses.replace(
            config_of(tmp_path).optimizer, muon_lr_factor=0.0, average_share=0.0
        ))  # fmt: skip
    with pytest.raises(ValueError, match="play_episodes must be at least 0, got -1"):
        config_of(tmp_path, play_episodes=-1)
