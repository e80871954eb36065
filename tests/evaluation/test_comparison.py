"""Two evaluations beside each other, against differences worked out by hand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mugato.agent import Sampling
from mugato.cli import main as cli
from mugato.evaluation import scores
from mugato.evaluation.agent_info import AgentInfo
from mugato.evaluation.comparison import compare
from mugato.evaluation.results import (
    EvaluationInfo,
    EvaluationResults,
    Provenance,
    read_results,
)
from mugato.evaluation.scores import Reference, TaskScores, stratified_difference

SEEDS = range(3_000_000, 3_000_040)


def report(returns, *, expert=10.0, random=0.0, name="walk", seeds=SEEDS, failed=(), run="a"):
    """Results of one task."""
    kept = [seed for seed in seeds if seed not in failed]
    task = TaskScores(
        name=name, domain="test", seeds=kept, returns=returns, length_mean=5.0,
        reference=Reference(expert=expert, random=random), max_episode_steps=9,
        failed=dict.fromkeys(failed, "crashed"),
    )  # fmt: skip
    machine = {"cpu": "x", "cores": 2, "memory_gib": 1.0, "gpu": None, "system": "s", "python": "3"}
    return EvaluationResults(
        run=Path(run),
        tasks={name: task},
        sources={},
        agent=AgentInfo(
            seconds=None, tokens=None, steps=None, parameters=1_000_000, context_length=64,
            tasks=[name], sources=[],
        ),
        evaluation=EvaluationInfo(
            seconds=1.0, episodes=len(seeds), seeds=[seeds[0], seeds[-1]], sampling=Sampling(),
            sampling_seed=0, precision="fp32", language_precision="fp32", device="cpu", workers=2,
            job_seconds={},
        ),
        provenance=Provenance(
            machine=machine, versions={}, commit=None, command="mugato evaluate <a>",
            date="2026-01-01",
        ),
        total_seconds=1.0,
    )  # fmt: skip


def test_pairs_make_small_changes_significant():
    """Luck of the seed is far larger than the change, but both had the same."""
    luck = np.random.default_rng(0).normal(5.0, 3.0, len(SEEDS))
    better = luck + np.random.default_rng(1).normal(0.5, 0.2, len(SEEDS))
    found = compare(report(luck.tolist()), report(better.tolist())).tasks["walk"]
    assert found.change == pytest.approx((better - luck).mean() / 10)
    assert found.is_significant and found.pairs == 40
    unpaired = scores.interval(better / 10)
    assert found.interval[1] - found.interval[0] < (unpaired[1] - unpaired[0]) / 3


def test_the_interval_is_that_of_resampled_pairs():
    rng = np.random.default_rng(0)
    strata = [rng.normal(0.5, 0.3, (n, 2)) for n in (20, 30)]
    low, high = stratified_difference(strata, scores.mean)
    drawn = []
    for _ in range(4000):
        means = [s[rng.integers(0, len(s), len(s))].mean(axis=0) for s in strata]
        drawn.append(np.diff(np.mean(means, axis=0))[0])
    assert [low, high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.01)


def test_only_seeds_that_both_played_are_paired():
    first = report([1.0] * 39, failed=[3_000_000])
    second = report([2.0, *[3.0] * 38, 9.0], seeds=range(3_000_001, 3_000_041))
    found = compare(first, second)
    assert found.tasks["walk"].pairs == 39
    assert found.tasks["walk"].change == pytest.approx((2.0 + 38 * 3.0) / 390 - 0.1)
    assert found.overall["iqm"].change == pytest.approx(found.tasks["walk"].change)


def test_what_cannot_be_compared_is_said():
    first, second = report([1.0] * 40), report([2.0] * 40, expert=20.0)
    tasks = {**second.tasks, **report([1.0] * 40, name="run").tasks}
    second = dataclasses.replace(second, tasks=tasks)
    found = compare(first, second)
    assert found.tasks["walk"].second == pytest.approx(0.2)  # by the first's references
    assert any("the second report's references differ" in remark for remark in found.remarks)
    assert "only in the second: run" in found.remarks
    wrapped = "walk is made with size=6 and wrapped in robo:HalfSpeed"
    found = compare(first, dataclasses.replace(second, missing=["other is made with a=1", wrapped]))
    assert f"not the same environment: walk is as it comes; {wrapped}" in found.remarks
    with pytest.raises(ValueError, match="nothing to compare: walk: no seeds in common"):
        compare(first, report([1.0] * 5, seeds=range(3_500_000, 3_500_005)))
    with pytest.raises(ValueError, match="walk: the expert's mean return 0 is not above"):
        compare(report([1.0] * 40, expert=0.0), second)


def test_the_command_shows_and_writes_both(tmp_path, capsys):
    for name, value in (("a", 2.0), ("b", 4.0)):
        (tmp_path / name).mkdir()
        report([value] * 40, run=tmp_path / name).save()
    page = tmp_path / "new" / "compare.html"
    cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(page)])
    said = capsys.readouterr().out
    assert "| walk | 0.20 | 0.40 | +0.20* | +0.20 to +0.20 | 40 |" in said
    assert "| inter-quartile mean | 0.20 | 0.40 |" in said
    text = page.read_text()
    assert "mugato evaluate &lt;a&gt;" in text and "<svg" in text and "http" not in text
    assert text.count("<table>") == 3
    cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    walk = json.loads(capsys.readouterr().out)["tasks"]["walk"]
    assert (walk["change"], walk["pairs"]) == (pytest.approx(0.2), 40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run mugato evaluate"),
        ("{", "report.json is not JSON: "),
        ("{}", "it has no tasks"),
        ('{"tasks": {}}', "is of another version of mugato"),
        (
            '{"tasks": {"walk": {"domain": "d"}}, "sources": {}}',
            "its task walk has no success, expert, ",
        ),
    ],
)
def test_what_is_not_a_report_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)
