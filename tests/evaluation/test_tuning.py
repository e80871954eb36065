"""How an agent acts best is found by playing, and kept with it."""

import dataclasses
import hashlib
import json

import pytest

from mugato.agent import Agent, AgentTask, Sampling
from mugato.cli import main as cli
from mugato.evaluation import tuning
from mugato.evaluation.config import EvaluationConfig
from mugato.evaluation.evaluate import evaluate
from mugato.evaluation.scores import Reference
from mugato.evaluation.tuning import DISCRETE, TuningConfig, Way, tune
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from mugato.tasks.task import EVALUATION_SEEDS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task

SPEC = spec_of(Guess.observation_space, Guess.action_space)
QUICK = TuningConfig(episodes=4, workers=1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    tiny_agent({"guess": SPEC}).save_pretrained(tmp_path)
    (tmp_path / "train_config.json").write_text(json.dumps({"datasets": [{"name": "guess"}]}))
    monkeypatch.setitem(TASKS, "guess", guess_task())
    return tmp_path


def weights(run):
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def test_the_best_way_is_kept_beside_weights_that_stay(run):
    before = weights(run)
    found = tune(run, QUICK)
    assert [way.task.sampling for way in found.ways["guess"]] == list(DISCRETE)
    assert all(len(way.returns) == 4 for way in found.ways["guess"])
    best = max(found.ways["guess"], key=lambda way: sum(way.returns))
    kept = Agent.from_pretrained(run).task("guess")
    assert kept == best.task and weights(run) == before
    report = json.loads((run / "tuning.json").read_text())
    assert [row["returns"] for row in report["tasks"]["guess"]] == [
        list(way.returns) for way in found.ways["guess"]
    ]
    assert tune(run, QUICK).ways == found.ways  # what was chosen before does not matter


def test_nothing_more_is_played_where_it_is_as_good_as_the_expert(run, monkeypatch):
    easy = Reference(expert=0.0, random=-9.0)
    monkeypatch.setattr(tuning, "tabled_reference", lambda task, seeds: easy)
    assert len(tune(run, QUICK).ways["guess"]) == 1


def test_a_way_is_worth_what_the_agent_returns_when_it_acts_so(run):
    found = tune(run, QUICK)
    colder = found.ways["guess"][2]
    agent = Agent.from_pretrained(run)
    dataclasses.replace(agent, tasks={"guess": colder.task}).save_tasks(run)
    config = EvaluationConfig(episodes=4, first_seed=QUICK.first_seed, workers=1, videos=False)
    results = evaluate(run, config)
    assert list(results.tasks["guess"].returns) == list(colder.returns)
    assert results.evaluation.samplings == {"guess": DISCRETE[2]}


def test_how_far_it_looks_back_is_tried_where_both_were_taught(run):
    config = {"datasets": [{"name": "guess"}], "history_dropout": 0.5}
    (run / "train_config.json").write_text(json.dumps(config))
    ways = tune(run, QUICK).ways["guess"]
    assert [way.task.history for way in ways[:2]] == [None, 1]
    assert [way.task.sampling for way in ways] == [DISCRETE[0], *DISCRETE]
    config["datasets"][0]["history"] = 2
    (run / "train_config.json").write_text(json.dumps(config))
    assert len(tune(run, QUICK).ways["guess"]) == len(DISCRETE)


def test_a_task_that_cannot_be_played_acts_as_it_did(run, monkeypatch):
    monkeypatch.setitem(TASKS, "guess", guess_task(fault="reset"))
    agent = Agent.from_pretrained(run)
    task = AgentTask(spec=SPEC, sampling=Sampling(temperature=0.7))
    dataclasses.replace(agent, tasks={"guess": task}).save_tasks(run)
    (run / "tuning.json").write_text("of an earlier one")
    with pytest.raises(ValueError, match=r"nothing was changed: guess: .*no power"):
        tune(run, QUICK)
    assert (run / "tuning.json").read_text() == "of an earlier one"
    assert Agent.from_pretrained(run).task("guess") == task


def test_of_equals_the_first_is_best():
    task = AgentTask(spec=SPEC)
    assert Way(task=task, returns=()).mean < Way(task=task, returns=(-9.0,)).mean


def test_seeds_of_other_uses_are_refused():
    with pytest.raises(ValueError, match="seeds for tuning are 1000000 to 2999999"):
        TuningConfig(first_seed=EVALUATION_SEEDS.start)


def test_the_command_shows_what_was_chosen(run, capsys):
    cli.main(["tune", str(run), "--episodes", "2", "--workers", "1"])
    assert "temperature" in capsys.readouterr().out
