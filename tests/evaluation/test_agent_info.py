"""What a report says of the agent: its budget, what ended it, and whether it still lies there."""

import dataclasses
import hashlib
import json

import pytest
import torch

from mugato.data.language import caption_spec
from mugato.evaluation.agent_info import agent_info, fingerprint, staleness
from mugato.evaluation.config import EvaluationConfig, make_plan
from mugato.model.serialization import WEIGHTS
from mugato.reports.tables import training
from mugato.training.checkpoint import STATE, Learner, TrainingProgress, save_state, state_tensors
from tests.agents import tiny_agent


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    tiny_agent({"emoji": caption_spec(32)}).save_pretrained(folder)
    return folder


def described(run):
    return agent_info(make_plan(run, EvaluationConfig()))


def write(run, *, progress=None, **allowed):
    """Write what a training leaves in the run's folder."""
    config = {"datasets": [{"name": "emoji"}], **allowed}
    (run / "train_config.json").write_text(json.dumps(config))
    if progress is not None:
        model = torch.nn.Linear(1, 1)
        progress = TrainingProgress(microbatches=(), **progress)
        learner = Learner(model=model, optimizer=torch.optim.AdamW(model.parameters()))
        save_state(run, state_tensors(learner), progress)


@pytest.mark.parametrize(
    ("step", "seconds", "max_seconds", "ended"),
    [
        (4000, 10.0, None, "steps"),
        (912, 690.2, 690.0, "time"),
        (912, 500.0, 690.0, "stopped"),
        (912, 500.0, None, "stopped"),
    ],
)
def test_budget_steps_and_what_ended_them_are_read_from_the_run(
    run, step, seconds, max_seconds, ended
):
    progress = {"step": step, "seconds": seconds, "tokens": 3_100_000, "skipped": 2}
    write(run, progress=progress, steps=4000, max_seconds=max_seconds)
    found = described(run)
    assert (found.steps, found.seconds, found.tokens) == (step, seconds, 3_100_000)
    assert (found.max_steps, found.max_seconds, found.skipped) == (4000, max_seconds, 2)
    assert found.ended == ended
    words = training(found)
    limit = "" if max_seconds is None else " of 690 s"
    assert words == (
        f"{seconds:,.0f} s{limit}, {step:,} of 4,000 steps (2 skipped, not finite), "
        "3.1 M tokens seen"
    )


def test_without_a_state_the_last_logged_step_stands_and_no_end_is_claimed(run):
    write(run, steps=4000)
    logged = {"step": 10, "loss": 1.0, "losses": {}, "seconds": 2.0, "tokens": 900, "skipped": 0}
    (run / "metrics.jsonl").write_text(json.dumps(logged) + "\n")
    found = described(run)
    assert (found.steps, found.tokens, found.ended) == (10, 900, None)
    (run / STATE).write_bytes(b"cut off")  # needed to go on, not to be scored
    assert described(run) == found


def test_an_agent_alone_claims_no_training(run):
    found = described(run)
    assert (found.steps, found.seconds, found.max_steps, found.ended) == (None,) * 4


def test_weights_that_change_or_go_make_a_report_stale(run):
    found, path = described(run), run / WEIGHTS
    assert found.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert staleness(found, run) is None
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    said = staleness(found, run)
    assert said and "have changed since" in said and fingerprint(path)[:12] in said
    assert str(found.fingerprint)[:12] in said
    path.unlink()
    said = staleness(found, run)
    assert said and "are gone" in said
    path.write_bytes(before)
    assert staleness(found, run) is None
    unknown = staleness(dataclasses.replace(found, fingerprint=None), run)
    assert unknown and "does not record" in unknown
