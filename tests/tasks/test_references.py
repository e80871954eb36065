"""The table of references: how it is measured, kept, continued and shown."""

import json
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest

from mugato.cli import main as cli
from mugato.tasks.references import (
    REFERENCES,
    load_references,
    measure,
    play_seeds,
    reference,
    references_page,
    save_references,
    unmeasured,
    versions_of,
)
from mugato.tasks.registry import TASKS
from mugato.tasks.task import Task

ROOT = Path(__file__).parents[2]
CARTPOLE = TASKS["cartpole"]


def always_left(env):
    return lambda observation: 0


def gives_up_to_the_left(env):
    """Balances well, or not at all."""
    if env.unwrapped.state[0] < 0:
        raise RuntimeError("out of its depth")
    return CARTPOLE.make_expert(env)


def gives_up(env):
    raise RuntimeError("out of its depth")


def too_far(env):
    return lambda observation: 2


@pytest.mark.thorough
def test_expert_and_random_actions_play_the_same_fresh_seeds():
    measured = measure(CARTPOLE, episodes=3)
    assert (measured.expert, measured.expert_stats.length, measured.expert_stats.success) == (
        500,
        500,
        1,
    )
    assert measured.random == measured.random_stats.length < 60
    assert measured.random_stats.success == 0
    assert measured.versions == versions_of(CARTPOLE)
    assert measured == measure(CARTPOLE, episodes=3)


def test_a_reference_that_ranks_nothing_is_refused_by_name():
    task = replace(CARTPOLE, name="leaning", make_expert=always_left)
    with pytest.raises(ValueError, match=r"leaning: no reference, .* 9.* not above .* actions, 2"):
        measure(task, episodes=5)


@pytest.mark.thorough
def test_giving_up_counts_as_no_success_and_not_in_the_mean():
    task = replace(CARTPOLE, make_expert=gives_up_to_the_left)
    measured = measure(task, episodes=8)
    assert 0 < measured.gave_up < 8
    assert measured.expert_stats.success == 1 - measured.gave_up / 8
    assert measured.expert == 500
    with pytest.raises(ValueError, match="cartpole: the expert gave up at all 2 seeds"):
        measure(replace(CARTPOLE, make_expert=gives_up), episodes=2)


@pytest.mark.parametrize(
    ("changes", "episodes", "message"),
    [
        ({"make_expert": None}, 2, "cartpole has no expert to measure"),
        ({"make_expert": too_far}, 2, "cartpole, seed 3000000: action 2 is outside"),
        ({}, 0, r"episodes must be in \[1, 1000000\], got 0"),
    ],
)
def test_what_cannot_be_measured_is_named(changes: dict, episodes: int, message: str):
    with pytest.raises(ValueError, match=message):
        measure(replace(CARTPOLE, **changes), episodes=episodes)


def test_a_table_is_read_back_equal_one_sorted_line_a_task(tmp_path: Path):
    measured = measure(CARTPOLE, episodes=2)
    table = {"b": measured, "a": replace(measured, gave_up=1)}
    save_references(table, tmp_path / "table.json")
    assert load_references(tmp_path / "table.json") == table
    lines = (tmp_path / "table.json").read_text().splitlines()
    assert [line[:4] for line in lines[1:-1]] == [' "a"', ' "b"']
    assert load_references(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"table.json is not a table of references"),
        ('{"cartpole": {"expert": 1}}', r"table.json: cartpole: not a reference: KeyError"),
        ('{"cartpole": 3}', r"table.json: cartpole: not a reference"),
    ],
)
def test_a_broken_table_is_named(text: str, message: str, tmp_path: Path):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_references(tmp_path / "table.json")


def test_only_what_is_missing_or_was_measured_otherwise_is_due():
    known = {"cartpole": measure(CARTPOLE, episodes=2)}
    pendulum = TASKS["pendulum"]

    def due(episodes: int) -> list[Task]:
        return unmeasured([CARTPOLE, pendulum], known, episodes=episodes)

    assert due(2) == [pendulum]
    assert due(3) == [CARTPOLE, pendulum]
    known["cartpole"] = replace(known["cartpole"], versions={"gymnasium": "0.1"})
    assert due(2) == [CARTPOLE, pendulum]


def test_every_shipped_reference_ranks_a_task_that_is_there():
    table = load_references(REFERENCES)
    assert set(table) <= set(TASKS)
    assert all(entry.expert > entry.random for entry in table.values())
    assert all(entry.episodes >= 50 for entry in table.values())
    assert reference("cartpole") == table["cartpole"]
    assert reference("no such task") is None


def test_the_page_is_written_from_the_shipped_table():
    page = references_page(load_references(REFERENCES))
    assert (ROOT / "docs" / "references.md").read_text("utf-8") == page
    assert "| `cartpole` |  | 500 ± 0 | 100% |" in page


def run(*arguments: object) -> None:
    cli.main(["reference", *map(str, arguments)])


@pytest.mark.thorough
def test_the_command_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture):
    table = tmp_path / "table.json"
    run("cartpole", "--episodes", 2, "--table", table)
    first = load_references(table)
    run("cartpole", "taxi", "--episodes", 2, "--table", table, "--page", tmp_path / "page.md")
    assert "1 were measured before" in capsys.readouterr().out
    assert load_references(table)["cartpole"] == first["cartpole"]
    assert "| `taxi` |" in (tmp_path / "page.md").read_text()


@pytest.mark.thorough
def test_any_number_of_workers_measures_the_same(tmp_path: Path):
    for workers in (1, 2):
        run("taxi", "pendulum", "--episodes", 2, "--workers", workers, "--table",
            tmp_path / f"{workers}.json")  # fmt: skip
    assert json.loads((tmp_path / "1.json").read_text()) == json.loads(
        (tmp_path / "2.json").read_text()
    )


@pytest.mark.thorough
def test_a_task_that_fails_leaves_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    leaning = replace(CARTPOLE, name="leaning", make_expert=always_left)
    monkeypatch.setitem(TASKS, "leaning", leaning)
    with pytest.raises(SystemExit):
        run("leaning", "taxi", "--episodes", 5, "--table", tmp_path / "table.json")
    assert "1 of 2 not measured:\nleaning: no reference" in capsys.readouterr().err
    assert list(load_references(tmp_path / "table.json")) == ["taxi"]


def test_unknown_domains_and_nothing_named_are_one_line(capsys: pytest.CaptureFixture):
    for arguments, message in (
        (("--domain", "chess"), "no domain 'chess'; known are babyai"),
        ((), "name either tasks, or --domain, or --all"),
    ):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err


class Breaks(gymnasium.Wrapper):
    """Ends in an error where nobody steers."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated and observation[0] > 0:
            raise RuntimeError("off the rails")
        return observation, reward, terminated, truncated, info


@pytest.mark.thorough
def test_an_environment_that_fails_under_random_actions_costs_those_seeds_alone():
    task = replace(CARTPOLE, name="rails", make_env=lambda: Breaks(CARTPOLE.make_env()))
    with pytest.warns(RuntimeWarning, match="rails, seed 3000.*: off the rails"):
        expert, chance = play_seeds(task, range(3_000_000, 3_000_008))
    assert len(expert) == 8
    assert 0 < len(chance) < 8
