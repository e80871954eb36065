"""Fine-tuning begins with the agent's weights, takes so many demonstrations, and keeps all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gymnasium import make

from mugato.agent import Agent
from mugato.cli import main as cli
from mugato.data.config import DatasetConfig
from mugato.evaluation import finetuning
from mugato.evaluation.finetuning import FinetuneConfig, Shots, finetune, training
from mugato.recording.recorder import RecordConfig, record
from mugato.spec import spec_of
from mugato.training.config import TrainConfig
from mugato.training.optimizer import OptimizerConfig
from mugato.training.run import train_part
from mugato.training.run_info import read_config
from tests.agents import tiny_agent
from tests.evaluation.test_comparison import report

pytestmark = pytest.mark.filterwarnings("ignore")
STILL = OptimizerConfig(lr=0.0, start_lr=0.0, warmup_steps=0, weight_decay=0.0, muon_lr_factor=2.0)
CARTPOLE = DatasetConfig(name="cartpole")


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an agent that knows another task, and three demonstrations of CartPole."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    record("cartpole", RecordConfig(episodes=3))
    env = make("Acrobot-v1")
    spec = spec_of(env.observation_space, env.action_space)
    tiny_agent({"acrobot": spec}, seed=7).save_pretrained(tmp_path / "agent")
    return tmp_path / "agent"


def small(agent: Path, **changes) -> FinetuneConfig:
    return FinetuneConfig(
        **{
            "out": agent.parent / "out", "episodes": (0, 2), "seeds": (0,), "max_tokens": 600,
            "evaluation_episodes": 2, "workers": 1, **changes,
        }
    )  # fmt: skip


def quick(config: TrainConfig) -> TrainConfig:
    return replace(config, processes=1, log_every=1)


@pytest.mark.parametrize("start", ["agent", "scratch"])
def test_a_training_begins_with_the_agents_weights_or_with_fresh_ones(start, agent, tmp_path):
    config = small(agent, optimizer=STILL)
    asked = training(agent, CARTPOLE, config, episodes=2, start=start, seed=0)
    assert train_part(quick(replace(asked, run=tmp_path / "run"))).step > 1
    known, tuned = (Agent.from_pretrained(folder) for folder in (agent, tmp_path / "run"))
    same = [
        torch.equal(a, b)
        for a, b in zip(*(x.model.parameters() for x in (known, tuned)), strict=True)
    ]
    assert all(same) if start == "agent" else not any(same[:3])
    assert list(tuned.tasks) == ["cartpole"]
    assert tuned.tokenizer.text.num_pieces == known.tokenizer.text.num_pieces or start == "scratch"
    assert read_config(tmp_path / "run").model == known.model.config
    assert read_config(tmp_path / "run").datasets[0].episodes == 2


def test_a_fine_tuning_that_was_stopped_goes_on_to_the_bit(agent, tmp_path):
    config = small(agent)
    asked = quick(training(agent, CARTPOLE, config, episodes=2, start="agent", seed=0))
    whole = replace(asked, run=tmp_path / "whole")
    train_part(whole)
    part = replace(asked, run=tmp_path / "part", max_tokens=300)
    train_part(part)
    train_part(replace(part, max_tokens=600), resume=True)
    assert read_config(part.run).init_from == agent
    one, other = (Agent.from_pretrained(run.run).model.state_dict() for run in (whole, part))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_curve_is_kept_and_nothing_is_trained_twice(agent, monkeypatch):
    config, said = small(agent), list[str]()
    shots = finetune(agent, CARTPOLE, config, on_status=said.append)
    assert [(row.episodes, row.start) for row in shots] == [
        (0, "agent"), (2, "agent"), (2, "scratch")
    ]  # fmt: skip
    folder = config.out / "cartpole"
    report = json.loads((folder / "finetuning.json").read_text())
    assert [row["episodes"] for row in report["shots"]] == [0, 2, 2]
    assert report["shots"][1]["return"]["values"] == list(shots[1].returns.values)
    assert Agent.from_pretrained(folder / "agent-0-0").model.num_parameters
    monkeypatch.setattr(finetuning, "train_part", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(finetuning, "evaluate", lambda *a, **k: pytest.fail("played again"))
    assert finetune(agent, CARTPOLE, config) == shots


def test_what_cannot_be_is_said_at_once(agent):
    with pytest.raises(ValueError, match="cartpole has 3 demonstrations, not 4"):
        finetune(agent, CARTPOLE, small(agent, episodes=(1, 4)))
    with pytest.raises(ValueError, match="there is no agent in nowhere"):
        finetune("nowhere", CARTPOLE, small(agent))
    with pytest.raises(ValueError, match=r"episodes must be different numbers .* \(1, 1\)"):
        small(agent, episodes=(1, 1))
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        DatasetConfig(name="cartpole", episodes=0)


@pytest.mark.thorough
def test_the_command_draws_a_table_and_a_picture(agent, capsys):
    out = agent.parent / "out"
    cli.main([
        "finetune", str(agent), "--task", "cartpole", "--episodes", "0", "1", "--seeds", "0", "1",
        "--max-tokens", "300", "--evaluation-episodes", "2", "--workers", "1", "--out", str(out),
    ])  # fmt: skip
    shown = capsys.readouterr().out
    assert "scratch" in shown and "finetuning.svg" in shown
    assert "<svg" in (out / "cartpole" / "finetuning.svg").read_text()
    with pytest.raises(SystemExit):
        cli.main(["finetune", str(agent)])
    assert "name a --task of ours" in capsys.readouterr().err


def test_scores_are_left_out_where_one_has_none():
    with_reference = report([5.0, 7.0]).tasks["walk"]
    without = replace(with_reference, reference=None)
    assert Shots.of(1, "agent", [with_reference, without]).scores is None
    found = Shots.of(1, "agent", [with_reference, with_reference])
    assert found.scores is not None and found.scores.values == pytest.approx((0.6, 0.6))
    assert found.returns.values == (6.0, 6.0)
