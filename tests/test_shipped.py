"""Agents in half the space, and those that come with the package, by name."""

import json
import re

import pytest
import torch
from gymnasium import spaces

from mugato import agent as agents
from mugato.acting.policy import Policy
from mugato.agent import Agent
from mugato.cli import main as cli
from mugato.evaluation.evaluate import evaluate
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task

SPEC = spec_of(Guess.observation_space, Guess.action_space)
SIGHT = {"shown": 1, "place": [0.5, -0.5]}


def test_what_comes_with_the_package_is_small_knows_no_machine_and_acts():
    assert "mugato-small" in agents.shipped_agents()
    for name in agents.shipped_agents():
        folder = agents.SHIPPED / name
        assert sum(path.stat().st_size for path in folder.iterdir()) < 18e6
        texts = [p.read_text("utf-8") for p in folder.iterdir() if p.suffix in (".json", ".md")]
        assert len(texts) >= 4 and not any(re.search(r"/(tmp|home|root|work)/", t) for t in texts)
        agent = Agent.from_pretrained(name)
        assert agent.model.num_parameters < 9e6
        assert len(set(agent.tasks) & set(TASKS)) >= 40
    policy = Policy.from_pretrained("mugato-small", task="cartpole")
    env, total, done = TASKS["cartpole"].make_env(), 0.0, False
    observation, _ = env.reset(seed=3_000_000)
    while not done and total < 100:
        observation, reward, terminated, truncated, _ = env.step(policy.select_action(observation))
        total, done = total + float(reward), terminated or truncated
    assert total == 100  # a random policy: 21


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Make a folder of a user, and a package with one agent."""
    shipped = tmp_path / "package"
    tiny_agent({"guess": SPEC}).save_pretrained(shipped / "tiny", precision="bf16")
    (shipped / "tiny" / "train_config.json").write_text(
        json.dumps({"datasets": [{"name": "guess"}]})
    )
    monkeypatch.setattr(agents, "SHIPPED", shipped)
    monkeypatch.setitem(TASKS, "guess", guess_task())
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    return tmp_path / "user"


def test_bf16_takes_half_the_space_and_changes_each_weight_by_its_rounding_alone(tmp_path):
    whole = tiny_agent({"guess": SPEC})
    for precision in ("fp32", "bf16"):
        whole.save_pretrained(tmp_path / precision, precision=precision)
    sizes = [(tmp_path / p / "model.safetensors").stat().st_size for p in ("bf16", "fp32")]
    assert sizes[0] < 0.55 * sizes[1]
    read = Agent.from_pretrained(tmp_path / "bf16").model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert read[name].dtype == weight.dtype == torch.float32
        assert torch.equal(read[name], weight.bfloat16().float())


def test_an_agent_of_the_package_is_found_by_its_name_unless_a_folder_has_it(here):
    policy = Policy.from_pretrained("tiny", task="guess")
    assert policy.select_action(SIGHT) in Guess.action_space
    other = spec_of(spaces.Discrete(2), spaces.Discrete(2))
    tiny_agent({"mine": other}).save_pretrained(here / "tiny")
    assert list(Agent.from_pretrained("tiny").tasks) == ["mine"]
    with pytest.raises(ValueError, match=r"there is no agent in tiny-er, .*mugato: tiny"):
        Agent.from_pretrained("tiny-er")


def test_a_report_of_it_lies_with_the_user(here, capsys, monkeypatch):
    cli.main(["evaluate", "tiny", "--episodes", "2", "--workers", "1", "--no-videos"])
    assert (here / "runs" / "tiny" / "report.json").exists()
    assert not (agents.SHIPPED / "tiny" / "report.json").exists()
    assert "tiny comes with mugato; its copy is in runs/tiny" in capsys.readouterr().err
    cli.main(["play", "guess", "--agent", "tiny"])
    assert list((here / "runs" / "tiny" / "videos").glob("guess-*.mp4"))
    monkeypatch.setattr("mugato.cli.play.find_spec", lambda package: None)
    cli.main(["play", "guess", "--agent", "tiny"])
    assert list((here / "runs" / "tiny" / "videos").glob("guess-*.gif"))


def test_every_command_takes_its_name(here, capsys, monkeypatch):
    how = ("--episodes", "2", "--workers", "1")
    cli.main(["tune", "tiny", *how])
    assert json.loads((here / "runs" / "tiny" / "config.json").read_text())["tasks"]["guess"]
    cli.main(["ablate", "tiny", *how])
    assert (here / "runs" / "tiny" / "ablation.json").exists()
    cli.main(["export", "tiny", "mine"])
    config = json.loads((here / "mine" / "train_config.json").read_text())
    assert config == {"datasets": [{"name": "guess"}], "run": "mine"}
    one, other = (Agent.from_pretrained(name).model.state_dict() for name in ("tiny", "mine"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="tiny comes with mugato, and nothing is written there"):
        evaluate("tiny")
    assert {path.name for path in (agents.SHIPPED / "tiny").iterdir()} == {
        "model.safetensors", "config.json", "tokenizer.model", "train_config.json",
    }  # fmt: skip


def test_export_leaves_behind_what_only_training_needs_and_overwrites_nothing(here, capsys):
    run = here / "run"
    tiny_agent({"guess": SPEC}).save_pretrained(run)
    (run / "training_state.safetensors").write_bytes(b"big")
    cli.main(["export", "run", "out"])
    assert {path.name for path in (here / "out").iterdir()} == {
        "model.safetensors", "config.json", "tokenizer.model",
    }  # fmt: skip
    with pytest.raises(SystemExit):
        cli.main(["export", "run", "out"])
    assert "out holds an agent already" in capsys.readouterr().err
