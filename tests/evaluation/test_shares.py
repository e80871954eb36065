import json
from pathlib import Path

import pytest

from mugato.cli.train import Selection, selected_config
from mugato.data.config import DatasetConfig
from mugato.evaluation.shares import measured_shares, tuning_scores, with_shares
from mugato.tasks.references import reference
from mugato.training.presets import mugato_small


def tuned(folder, **scores):
    """Write what `mugato tune` writes of an agent with these scores, and worse ways to act."""
    tasks = {}
    for name, score in scores.items():
        known = reference(name.replace("_", "-"))
        assert known is not None
        mean = known.random + score * (known.expert - known.random)
        tasks[name.replace("_", "-")] = [{"returns": [mean - 1, mean - 1]}, {"returns": []},
                                         {"returns": [mean - 3, mean + 3]}]  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "tuning.json").write_text(json.dumps({"tasks": tasks}))
    return folder


def test_what_is_played_badly_gets_more_of_what_tasks_have_together(tmp_path):
    run = tuned(tmp_path / "run", cartpole=1.0, acrobot=0.0, taxi=0.5)
    assert tuning_scores(run) == pytest.approx({"cartpole": 1.0, "acrobot": 0.0, "taxi": 0.5})
    names = ("shakespeare", "cartpole", "acrobot", "taxi", "mountain-car")
    datasets = [DatasetConfig(name=name, weight=2.0) for name in names]
    shares = measured_shares(datasets, run, rate=2.0)
    assert [share.task for share in shares] == ["acrobot", "taxi", "cartpole"]
    new = {dataset.name: dataset.weight for dataset in with_shares(datasets, shares)}
    assert new["shakespeare"] == new["mountain-car"] == pytest.approx(0.2)
    assert sum(new.values()) == pytest.approx(1)
    assert new["acrobot"] / new["taxi"] == pytest.approx(2.71828, rel=1e-4)
    assert new["taxi"] / new["cartpole"] == pytest.approx(2.71828, rel=1e-4)


def test_scores_beyond_expert_and_below_random_count_as_those(tmp_path):
    datasets = [DatasetConfig(name=name) for name in ("cartpole", "acrobot")]
    far = measured_shares(datasets, tuned(tmp_path / "far", cartpole=1.4, acrobot=-3.0))
    near = measured_shares(datasets, tuned(tmp_path / "near", cartpole=1.0, acrobot=0.0))
    assert [s.after for s in far] == pytest.approx([s.after for s in near])


def test_the_flag_changes_a_presets_shares(capsys):
    before = {d.name: d.weight for d in mugato_small().datasets}
    total = sum(before.values())
    config = selected_config(Selection(preset="mugato-small", shares_from=Path("mugato-small")))
    gained = {d.name: d.weight / (before[d.name] / total) for d in config.datasets}
    scores = tuning_scores("mugato-small")
    worst, best = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
    assert gained["easy-vqa"] == pytest.approx(1)
    assert gained[worst] > 1 > gained[best]
    assert worst in capsys.readouterr().out


def test_an_agent_that_tells_nothing_is_refused(tmp_path):
    datasets = [DatasetConfig(name="cartpole")]
    with pytest.raises(ValueError, match=r"was not tuned: there is no tuning\.json"):
        measured_shares(datasets, tmp_path)
    with pytest.raises(ValueError, match="nothing of the tasks"):
        measured_shares(datasets, tuned(tmp_path / "other", acrobot=0.5))
    (tmp_path / "tuning.json").write_text('{"tasks": {"cartpole": [{"returns": "no"}]}}')
    with pytest.raises(ValueError, match=r"tuning\.json: cartpole: returns must be of type list"):
        measured_shares(datasets, tmp_path)
    with pytest.raises(ValueError, match="two ways to set shares"):
        selected_config(Selection(weights="uniform", shares_from=tmp_path))
