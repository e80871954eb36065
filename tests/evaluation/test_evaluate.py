"""The whole evaluation of a tiny run, and the three files that come of it."""

import dataclasses
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from mugato.cli import main as cli
from mugato.data.language import TEXT_SPEC, caption_spec
from mugato.data.sources.easy_vqa import open_easy_vqa
from mugato.evaluation import language
from mugato.evaluation.config import EvaluationConfig, load_agent
from mugato.evaluation.evaluate import evaluate as evaluate_run
from mugato.evaluation.results import read_results
from mugato.reports import render
from mugato.spec import spec_of
from mugato.tasks.references import EpisodeSummary
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task

METRICS = [
    {"step": i, "loss": 9.0 / i, "losses": {"cartpole": 8.0 / i, "emoji": 7.0 / i}, "lr": 1e-3,
     "grad_norm": 1.0, "tokens": 100 * i, "seconds": 2.0 * i, "tokens_per_s": 50.0, "fill": 1.0,
     "progress": i / 9}
    for i in range(1, 10)
]  # fmt: skip
COMMAND = "mugato evaluate <run> & more"
OPTIONS = {"episodes": 3}


def evaluate(run, on_progress=lambda *now: None, **options):
    """Evaluate, write the report, and return its numbers."""
    config = EvaluationConfig(**options)
    results = evaluate_run(run, config, on_progress=on_progress, command=COMMAND)
    render.write_report(results)
    return results.to_json()


KEYS = {"return_mean", "expert", "random", "normalized_score", "ci95", "episodes"}
FILES = ("report.json", "report.md", "report.html")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Make a run on CartPole, a guessing game and captions, a few pictures only."""
    env = TASKS["cartpole"].make_env()
    specs = {
        "cartpole": spec_of(env.observation_space, env.action_space),
        "guess": spec_of(Guess.observation_space, Guess.action_space),
        "emoji": caption_spec(32),
    }
    folder = tmp_path / "run"
    tiny_agent(specs).save_pretrained(folder)
    write_config(folder, ["cartpole", "guess"], ["emoji"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in METRICS))
    monkeypatch.setitem(TASKS, "guess", guess_task())
    monkeypatch.setenv("MUJOCO_GL", "egl")
    for limit in ("MAX_SEEN", "MAX_HELD_OUT"):
        monkeypatch.setattr(language, limit, 5)
    return folder


def write_config(folder, tasks, sources, split="train"):
    config = {"datasets": [{"name": name, "split": split} for name in (*tasks, *sources)]}
    (folder / "train_config.json").write_text(json.dumps(config))


def test_the_report_has_its_keys_and_is_what_was_returned(run):
    seen = []
    returned = evaluate(run, workers=1, on_progress=lambda *now: seen.append(now), **OPTIONS)
    data = json.loads((run / "report.json").read_text())
    assert data == returned
    assert set(data["tasks"]) == {"cartpole", "guess"}
    for row in data["tasks"].values():
        assert set(row) >= KEYS
        assert row["episodes"] == len(row["returns"]) == 3
        assert row["seeds"] == [3_000_000, 3_000_002]
        assert row["ci95"][0] <= row["normalized_score"] <= row["ci95"][1]
        assert row["video"]["seed"] == 3_000_003
    assert data["tasks"]["cartpole"]["expert"] == 500.0
    captions = data["sources"]["emoji"]
    assert (captions["kind"], captions["split"]) == ("captions", "test")
    assert captions["exact_match"] == 0.0 and captions["pictures"] == 5
    parameters = load_agent(str(run), "cpu").model.num_parameters
    assert {k: data["train"][k] for k in ("seconds", "tokens", "parameters")} == {
        "seconds": 18.0, "tokens": 900, "parameters": parameters,
    }  # fmt: skip
    assert data["total_seconds"] >= data["evaluation"]["seconds"] - 1 > 0
    assert set(data["sources"]) == {"emoji"}
    assert data["missing"] == []
    assert data["problems"] == {}
    assert seen[-1][1:] == (100, 100) and all(0 <= done <= 100 for _, done, _ in seen)


@pytest.mark.thorough
def test_report_json_is_read_back_into_the_results(run):
    results = evaluate_run(run, EvaluationConfig(workers=1, **OPTIONS))
    again = read_results(run)
    assert again.tasks == results.tasks and again.videos == results.videos
    assert again.sources["emoji"] == dataclasses.replace(results.sources["emoji"], samples=())
    assert again.evaluation == results.evaluation and again.provenance == results.provenance
    assert again.to_json() == results.to_json() == json.loads((run / "report.json").read_text())
    assert again.mean_normalized_score == results.mean_normalized_score
    assert render.report_markdown(again) == render.report_markdown(results)


@pytest.mark.thorough
def test_users_sources_and_such_with_options_are_scored(run):
    """As `mugato train --sources "emoji?size_px=16" text:novels actions` leaves them."""
    tiny_agent(
        {
            "emoji?size_px=16": caption_spec(16),
            "text:novels": TEXT_SPEC,
            "actions": spec_of(Guess.observation_space, Guess.action_space),
        }
    ).save_pretrained(run)
    write_config(run, [], ["emoji?size_px=16", "text:novels", "actions"], split="all")
    data = evaluate(run, workers=1, videos=False, **OPTIONS)
    assert data["sources"]["emoji?size_px=16"]["pictures"] == 5
    assert data["problems"] == {"text:novels": "text:novels: no such file there"}
    assert "trained on actions, which has no metric" in data["missing"]
    assert any("trained on emoji?size_px=16's split 'all'" in line for line in data["missing"])
    assert "trained on actions" in (run / "report.md").read_text()


@pytest.mark.thorough
def test_the_page_needs_nothing_from_elsewhere(run):
    data = evaluate(run, workers=1, **OPTIONS)
    page = (run / "report.html").read_text()
    outside = [a for a in addresses(page) if not a.startswith("data:")]
    assert not outside
    assert "http://" not in page and "https://" not in page
    assert "<script" not in page and "@import" not in page and "url(" not in page
    assert page.count("data:video/mp4;base64,") == 2
    watched = page[page.index("Watch it act") :]
    scores = {name: row["normalized_score"] for name, row in data["tasks"].items()}
    shown = sorted(scores, key=lambda name: watched.index(f"<b>{name}</b>"))
    assert shown == sorted(scores, key=lambda name: scores[name]) != list(scores)
    assert page.count("data:image/png;base64,") == 10
    assert page.count('<svg class="curve"') == 3
    assert "mugato evaluate &lt;run&gt; &amp; more" in page
    assert sorted(path.name for path in (run / "videos").iterdir()) == ["cartpole.mp4", "guess.mp4"]
    text = (run / "report.md").read_text()
    assert "| cartpole |" in text and "mugato evaluate <run> & more" in text


def addresses(page):
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            names = ("src", "href", "poster", "data", "srcset", "xlink:href")
            found.extend(value for name, value in attributes if name in names)

    Parser().feed(page)
    return found


@pytest.mark.thorough
def test_a_failing_task_and_a_degenerate_one_do_not_hide_the_others(run, monkeypatch):
    monkeypatch.setitem(TASKS, "guess", guess_task(fault="error"))
    data = evaluate(run, workers=1, videos=False, **OPTIONS)
    assert data["problems"]["guess"] == (
        "3 of 3 episodes failed: seed 3000000: RuntimeError: the motor is on fire"
    )
    assert set(data["tasks"]) == {"cartpole"}
    clumsy = type(guess_task())(**{**vars(guess_task()), "make_expert": lambda env: lambda o: 0})
    monkeypatch.setitem(TASKS, "guess", clumsy)
    one = [EpisodeSummary(episode_return=1.0, length=3)] * 3
    monkeypatch.setattr("mugato.evaluation.references.play_seeds", lambda task, seeds: (one, one))
    data = evaluate(run, workers=1, tasks=["guess"], videos=False, **OPTIONS)
    row = data["tasks"]["guess"]
    assert row["normalized_score"] is None and row["ci95"] is None
    assert data["problems"]["guess"].startswith("guess: the expert's mean return 1 is not above")
    assert "guess: the expert" in (run / "report.html").read_text()


@pytest.mark.thorough
def test_a_task_whose_process_dies_does_not_lose_the_others(run, monkeypatch):
    monkeypatch.setitem(TASKS, "guess", guess_task(fault="death"))
    write_config(run, ["cartpole", "guess"], [])
    data = evaluate(run, workers=2, videos=False, **OPTIONS)
    assert data["problems"]["guess"] == (
        "3 of 3 episodes failed: seed 3000000: its process died with exit status 7"
    )
    assert data["problems"]["references of guess"] == "its process died with exit status 7"
    assert data["tasks"]["cartpole"]["episodes"] == 3


@pytest.mark.thorough
def test_several_workers_find_what_one_finds(run):
    write_config(run, ["cartpole", "guess"], [])
    one, two = (evaluate(run, workers=n, videos=False, **OPTIONS)["tasks"] for n in (1, 2))
    assert one == two


@pytest.mark.thorough
def test_files_are_written_whole_or_not_at_all(run, monkeypatch):
    evaluate(run, workers=1, videos=False, **OPTIONS)
    before = {name: (run / name).read_bytes() for name in FILES[1:]}
    page = render.report_html
    monkeypatch.setattr(render, "report_html", lambda *parts: page(*parts) + "\ud800")
    with pytest.raises(UnicodeEncodeError):
        evaluate(run, workers=1, videos=False, **OPTIONS)
    assert before == {name: (run / name).read_bytes() for name in before}
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["walk"]}, r"the run has no task \['walk'\], only cartpole, emoji, guess"),
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"first_seed": 7}, "seeds below 1000000 are for demonstrations, got 7"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_requests_are_refused(run, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(run, **{**OPTIONS, **options})


def test_packages_for_intervals_are_asked_for_before_anything_is_played(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    told = []
    with pytest.raises(ImportError, match=r"install it: pip install 'mugato\[report\]'"):
        evaluate_run(run, on_progress=lambda *what: told.append(what))
    assert not told


def test_a_folder_without_an_agent_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no mugato checkpoint"):
        evaluate(tmp_path, **OPTIONS)


@pytest.mark.slow
def test_questions_and_text_of_a_whole_run(tmp_path):
    folder = tmp_path / "run"
    specs = {"easy-vqa": open_easy_vqa("test").spec, "shakespeare": TEXT_SPEC}
    tiny_agent(specs).save_pretrained(folder)
    data = evaluate(folder, workers=2, **OPTIONS)
    assert data["sources"]["easy-vqa"]["questions"] == 9673
    assert len(data["sources"]["easy-vqa"]["per_type"]) == 6
    text = data["sources"]["shakespeare"]
    assert text["bz2_bits_per_byte"] < text["unigram_bits_per_byte"] < text["bits_per_byte"]
    assert len(text["continuations"]) == 3
    assert re.search(r"<blockquote>.+<em>", (folder / "report.html").read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("names", "found", "left_out"),
    [
        (["cartpole"], {"cartpole"}, "guess, emoji"),
        pytest.param(["emoji"], set(), "cartpole, guess", marks=pytest.mark.thorough),
    ],
)
def test_only_what_is_asked_for_is_scored(run, names, found, left_out):
    data = evaluate(run, tasks=names, workers=1, videos=False, **OPTIONS)
    assert set(data["tasks"]) == found
    assert set(data["sources"]) == set(names) - {"cartpole"}
    assert f"left out on request: {left_out}" in data["missing"]


def test_the_command_says_what_failed(run, capsys, monkeypatch):
    monkeypatch.setitem(TASKS, "guess", guess_task(fault="error"))
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(run), "--tasks", "guess", "--episodes", "2", "--workers", "1"])
    shown = capsys.readouterr()
    assert "could be scored, so no report was written" in shown.err
    assert "guess: 2 of 2 episodes failed: seed 3000000: RuntimeError" in shown.err


def test_without_a_reference_returns_are_kept_without_a_score(run, monkeypatch):
    write_config(run, ["guess"], [])
    monkeypatch.setitem(TASKS, "guess", guess_task(expert=False))
    data = evaluate(run, workers=1, **OPTIONS)
    row = data["tasks"]["guess"]
    assert len(row["returns"]) == 3 and row["normalized_score"] is None and row["expert"] is None
    assert "neither an expert nor demonstrations" in data["problems"]["references of guess"]
    assert data["problems"]["guess"].startswith("guess: no score: there is no reference")
    assert read_results(run).to_json() == data and data["summary"] == {}
    assert "| guess |" in (run / "report.md").read_text()


def test_a_report_is_not_replaced_by_one_in_which_nothing_was_scored(run, monkeypatch):
    write_config(run, ["guess"], [])
    evaluate(run, workers=1, videos=False, **OPTIONS)
    before = {name: (run / name).read_bytes() for name in FILES}
    monkeypatch.setitem(TASKS, "guess", guess_task(fault="error"))
    assert evaluate_run(run, EvaluationConfig(workers=1, videos=False, **OPTIONS)).all_failed
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(run), "--episodes", "2", "--workers", "1"])
    assert ended.value.code == 1
    assert before == {name: (run / name).read_bytes() for name in FILES}
