"""From an environment to a score, from Python alone."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import mugato
from mugato import DatasetConfig, EvaluationConfig, GatoConfig, RecordConfig, TrainConfig

SIZES = {
    "width": 64, "num_layers": 1, "num_heads": 2, "head_size": 32, "hidden_size": 128,
    "context_length": 64, "patch_width": 32,
}  # fmt: skip


def config(run: Path, **changes) -> TrainConfig:
    return TrainConfig(
        run=run,
        datasets=(DatasetConfig(name="CartPole-v1", demonstrations="mine", history=1),),
        model=dataclasses.replace(GatoConfig.micro(), **SIZES),
        tokenizer=mugato.TokenizerConfig(text_pieces=300),
        optimizer=mugato.OptimizerConfig(lr=3e-3, warmup_steps=2),
        batch_rows=4,
        log_every=1,
        precision="fp32",
        **changes,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "leaning.py").write_text("def policy(o):\n    return int(o[2] + o[3] > 0)\n")
    return tmp_path


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_an_environment_is_recorded_trained_on_scored_compared_and_played(folder, processes):
    task = mugato.gymnasium_task("CartPole-v1", expert="leaning:policy", max_episode_steps=40)
    seen = []
    report = mugato.record(
        task, RecordConfig(episodes=3, dataset="mine"), on_progress=lambda *now: seen.append(now)
    )
    assert report.episodes == 3 and seen[-1] == (3, 0)
    reports, said = [], []
    for seed in (0, 1):
        mugato.train(
            config(folder / f"run-{seed}", steps=3, seed=seed, processes=processes),
            on_report=reports.append,
            on_status=said.append,
        )
    assert [r.step for r in reports] == [1, 2, 3, 1, 2, 3] and len(said) == 4
    progress = mugato.train(config(folder / "run-0", steps=5, processes=processes), resume=True)
    assert progress.step == 5
    scoring = EvaluationConfig(episodes=2, workers=1, videos=False)
    results = [mugato.evaluate(folder / f"run-{seed}", scoring) for seed in (0, 1)]
    scores = results[0].tasks["CartPole-v1"]
    assert len(scores.returns) == 2 and scores.reference.expert_is == "demonstrations"
    assert results[0].mean_normalized_score == pytest.approx(scores.normalized().mean())
    mugato.write_report(results[0])
    assert (folder / "run-0" / "report.html").is_file()
    change = mugato.compare(folder / "run-0", folder / "run-1").tasks["CartPole-v1"]
    assert change.pairs == 2 and change.first == pytest.approx(scores.normalized().mean())
    policy = mugato.Policy.from_pretrained(folder / "run-0", task="CartPole-v1")
    env = gymnasium.make("CartPole-v1")
    assert policy.select_action(env.reset(seed=0)[0]) in (0, 1)


def test_data_that_is_missing_is_one_error_with_several_processes_too(folder):
    with pytest.raises(ValueError, match="no Minari data set 'mine-v0'"):
        mugato.train(config(folder / "run", processes=2, steps=1))


@pytest.mark.thorough
def test_a_task_is_recorded_by_its_name(folder):
    assert mugato.record("cartpole", RecordConfig(episodes=1)).return_mean == 500.0


def test_every_public_name_is_there():
    assert all(getattr(mugato, name) is not None for name in mugato.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mugato.nothing  # noqa: B018


def test_recording_needs_no_pytorch():
    code = "import sys, mugato; mugato.record; assert 'torch' not in sys.modules"
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
