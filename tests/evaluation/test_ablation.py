"""No prompt, the right one, a wrong one: the same seeds, other beginnings."""

import dataclasses
import hashlib
import itertools
import json

import numpy as np
import pytest

from mugato.agent import GREEDY, AgentTask
from mugato.cli import main as cli
from mugato.episode import validate
from mugato.evaluation import ablation
from mugato.evaluation.ablation import (
    CONDITIONS,
    NONE,
    RIGHT,
    WRONG,
    ablate,
    demonstrations,
    plan_prompts,
)
from mugato.evaluation.config import EvaluationConfig, find_tasks, make_plan
from mugato.evaluation.scores import Reference
from mugato.reports.render import ablation_markdown
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_expert, guess_task
from tests.recording.recording import record

SPEC = spec_of(Guess.observation_space, Guess.action_space)


@pytest.fixture
def run(tmp_path, monkeypatch):
    tiny_agent({"guess": SPEC, "riddle": SPEC}).save_pretrained(tmp_path)
    write_config(tmp_path, ["guess", "riddle"])
    for name in ("guess", "riddle"):
        monkeypatch.setitem(TASKS, name, guess_task(name))
    return tmp_path


def write_config(folder, tasks, demonstrations=None):
    of = demonstrations or {}
    config = {"datasets": [{"name": name, "demonstrations": of.get(name)} for name in tasks]}
    (folder / "train_config.json").write_text(json.dumps(config))


def jobs_of(run, episodes=6):
    plan = make_plan(run, EvaluationConfig(episodes=episodes))
    found = plan_prompts(plan, find_tasks(plan)[0])
    return found.jobs, found.wrong_tasks, found.remarks


def test_a_demonstration_is_an_experts_success_and_fits_the_spec():
    first, second = itertools.islice(demonstrations(guess_task(), SPEC), 2)
    assert validate(first, SPEC).episode_return == len(first)  # the expert is always right
    assert first.name != second.name and "seed 1000000" in first.name
    assert (first.actions["action"] == first.observations["shown"]).all()
    with pytest.raises(ValueError, match="guess has neither an expert nor demonstrations"):
        next(demonstrations(guess_task(expert=False), SPEC))


def test_without_an_expert_the_data_sets_demonstrations_serve_however_few(run, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(run / "minari"))
    record(guess_task(), episodes=2, dataset="guesses-v0")
    monkeypatch.setitem(TASKS, "guess", guess_task(expert=False))
    write_config(run, ["guess", "riddle"], {"guess": "guesses-v0"})
    jobs, wrong, remarks = jobs_of(run)
    assert wrong == {"guess": "riddle", "riddle": "guess"} and not remarks
    for key in (("guess", RIGHT), ("riddle", WRONG)):
        prompts = [
            job.run.inference.prompt.name
            for job in jobs
            if (job.key.name, job.key.condition) == key
        ]
        assert prompts == ["guesses-v0 episode 0", "guesses-v0 episode 1"]


def gives_up(env):
    raise RuntimeError("out of its depth")


@pytest.mark.parametrize(
    ("broken", "remark"),
    [
        ({"make_expert": gives_up}, "guess: the expert fails at all of 3 seeds"),
        ({"failure_return": 99.0}, "guess: the expert fails at all of 3 seeds"),
        ({"make_expert": None}, "guess: no demonstration: guess has neither an expert nor"),
    ],
)
def test_one_task_without_demonstrations_does_not_end_the_others(run, monkeypatch, broken, remark):
    monkeypatch.setattr(ablation, "MAX_TRIES", 3)
    monkeypatch.setitem(TASKS, "guess", dataclasses.replace(guess_task(), **broken))
    jobs, wrong, remarks = jobs_of(run)
    assert len(remarks) == 1 and remarks[0].startswith(remark)
    assert {job.key.name for job in jobs} == {"riddle"} and wrong == {}
    monkeypatch.setitem(TASKS, "riddle", dataclasses.replace(guess_task("riddle"), **broken))
    with pytest.raises(ValueError, match=r"no task can be prompted: guess: .*; riddle: "):
        jobs_of(run)


def test_a_task_without_a_reference_does_not_end_the_others(run, monkeypatch):
    """Its expert demonstrates at other seeds, and gives up at those that are scored."""
    monkeypatch.setitem(
        TASKS, "guess", dataclasses.replace(guess_task(), make_expert=only_demonstrates)
    )
    found = ablate(run, EvaluationConfig(episodes=2, sampling=GREEDY, workers=1))
    assert set(found.scores) == {"riddle"}
    reason = "the expert gave up at all 2 seeds"
    assert f"guess: left out: no reference: guess: {reason}" in found.remarks


def only_demonstrates(env):
    if env.unwrapped.np_random_seed >= 3_000_000:
        raise RuntimeError("out of its depth")
    return guess_expert(env)


def test_a_fault_that_each_condition_finds_is_told_once(run, monkeypatch):
    clumsy = Reference(expert=1.0, random=1.0)
    monkeypatch.setattr(ablation, "tabled_reference", lambda task, seeds: clumsy)
    found = ablate(run, EvaluationConfig(episodes=2, workers=1))
    assert found.remarks == [
        f"{name}: left out: its expert is no better than chance" for name in ("guess", "riddle")
    ]


def test_each_condition_plays_all_seeds_once(run):
    jobs, wrong, remarks = jobs_of(run)
    assert wrong == {"guess": "riddle", "riddle": "guess"} and not remarks
    for condition in CONDITIONS:
        work = [j.run for j in jobs if (j.key.name, j.key.condition) == ("guess", condition)]
        seeds = [a.seed for w in work for a in w.requests]
        assert sorted(seeds) == list(range(3_000_000, 3_000_006))
        prompts = [w.inference.prompt for w in work]
        assert len(work) == (1 if condition == NONE else 4)
        names = {p.name.partition(",")[0] for p in prompts if p is not None}
        assert names == {NONE: set(), RIGHT: {"guess"}, WRONG: {"riddle"}}[condition]


def test_all_three_conditions_are_written(run):
    # Untrained weights tell little of a prompt: let the likeliest action win.
    config = EvaluationConfig(episodes=6, sampling=GREEDY, workers=1)
    found = ablate(run, config, command="mugato ablate run")
    data = found.to_json()
    assert data == json.loads((run / "ablation.json").read_text())
    for name in ("guess", "riddle"):
        conditions = data["tasks"][name]["conditions"]
        assert list(conditions) == list(CONDITIONS)
        assert all(row["episodes"] == 6 for row in conditions.values())
        assert conditions[NONE]["returns"] != conditions[RIGHT]["returns"]
    [entry] = [d for d in data["differences"] if (d["first"], d["second"]) == (NONE, RIGHT)]
    change = entry["tasks"]["guess"]["change"]
    rows = data["tasks"]["guess"]["conditions"]
    assert change == pytest.approx(rows[RIGHT]["normalized_score"] - rows[NONE]["normalized_score"])
    both = [entry["tasks"][name]["change"] for name in ("guess", "riddle")]
    assert entry["tasks"]["all"]["change"] == pytest.approx(np.mean(both))
    text = ablation_markdown(found)
    assert "| guess |" in text and "mugato ablate run" in text and "stale" not in text
    weights = (run / "model.safetensors").read_bytes()
    assert data["train"]["fingerprint"] == hashlib.sha256(weights).hexdigest()
    tiny_agent({"guess": SPEC, "riddle": SPEC}, seed=1).save_pretrained(run)
    assert "This report is stale: the weights have changed since" in ablation_markdown(found)


def test_a_score_that_misleads_is_marked_and_explained(run, monkeypatch):
    wide = Reference(expert=1.0, random=-99.0)
    monkeypatch.setattr(ablation, "tabled_reference", lambda task, seeds: wide)
    found = ablate(run, EvaluationConfig(episodes=2, workers=1))
    text = ablation_markdown(found)
    assert "| guess † |" in text
    assert f"guess †, {NONE}: a return of" in text and "wide scale" in text


@pytest.mark.thorough
def test_the_command_writes_and_shows_a_document(run, capsys):
    cli.main(["ablate", str(run), "--episodes", "2", "--workers", "1"])
    text = (run / "ablation.md").read_text()
    assert text in capsys.readouterr().out and "| riddle |" in text


def test_what_cannot_be_prompted_is_said(run, monkeypatch):
    agent = tiny_agent({"guess": SPEC})
    tasks = {**agent.tasks, "riddle": AgentTask(spec=SPEC, history=1)}
    dataclasses.replace(agent, tasks=tasks).save_pretrained(run)
    jobs, wrong, remarks = jobs_of(run)
    assert wrong == {}
    assert any("riddle: left out: the agent forgets after 1 timesteps" in r for r in remarks)
    assert any("guess: no other task looks alike" in r for r in remarks)
    assert {(job.key.name, job.key.condition) for job in jobs} == {
        ("guess", NONE),
        ("guess", RIGHT),
    }
    write_config(run, ["riddle"])
    with pytest.raises(ValueError, match="no task can be prompted: riddle: left out"):
        jobs_of(run)


def test_an_expert_that_never_succeeds_demonstrates_nothing(monkeypatch):
    monkeypatch.setattr(ablation, "MAX_TRIES", 3)
    hopeless = dataclasses.replace(guess_task(), failure_return=99.0)
    assert not list(demonstrations(hopeless, SPEC))
