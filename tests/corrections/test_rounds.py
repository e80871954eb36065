"""A training with corrections: they join their task's source, and a run goes on from anywhere."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mugato.corrections.rounds import train, with_saved_corrections
from mugato.data.config import DatasetConfig
from mugato.data.formats.minari.read import open_minari
from mugato.data.windows import EpisodeWindows, WindowConfig
from mugato.model.serialization import WEIGHTS
from mugato.recording.recorder import RecordConfig, record
from mugato.tasks.registry import TASKS
from mugato.training.metrics import read_metrics
from mugato.training.run import TrainingInterrupt
from mugato.training.run_info import read_config
from mugato.training.setup import open_sources
from tests.agents import tiny_tokenizer
from tests.corrections.training import make_config
from tests.corrections.walks import walk_task

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def walk(minari_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the demonstrations of a task that is ours for a test."""
    monkeypatch.setitem(TASKS, "walk", walk_task())
    record(walk_task(), RecordConfig(episodes=20))
    return minari_folder


def losses(run: Path) -> list[float]:
    return [report["loss"] for report in read_metrics(run)]


def sizes(run: Path) -> dict[str, int]:
    sources = open_sources(read_config(run).datasets)
    return {name: len(source) for name, source in sources.items()}


def test_corrections_join_their_tasks_source(walk: Path, tmp_path: Path):
    config, said = make_config(tmp_path / "run"), list[str]()
    assert train(config, on_status=said.append).step == 9
    saved = read_config(config.run)
    first, second = saved.datasets
    assert len(first.corrections) == 2 and second.corrections == ()
    assert all(name.startswith("mugato/walk/corrections-") for name in first.corrections)
    found = sizes(config.run)
    assert len(found) == 2 and found["walk"] == 20 + 2 * 20
    assert len(losses(config.run)) == 9
    assert {name for report in read_metrics(config.run) for name in report["losses"]} == set(found)
    assert sum("Recording 20 corrections in walk" in line for line in said) == 2


@pytest.mark.thorough
def test_what_cannot_be_corrected_is_said_once(walk: Path, tmp_path: Path):
    TASKS["walk-alone"] = dataclasses.replace(walk_task(), name="walk-alone", make_expert=None)
    datasets = (
        DatasetConfig(name="walk"),
        DatasetConfig(name="walk-alone", demonstrations="mugato/walk/expert-v0"),
    )
    said: list[str] = []
    try:
        config = make_config(tmp_path / "run", datasets=datasets, steps=3)
        train(config, on_status=said.append)
        lines = [line for line in said if "left without corrections" in line]
        assert lines == ["walk-alone is left without corrections: it has no expert"]
        alone = make_config(tmp_path / "alone", datasets=datasets[1:], steps=3)
        with pytest.raises(ValueError, match="nothing could be corrected"):
            train(alone)
    finally:
        del TASKS["walk-alone"]
    with pytest.raises(ValueError, match="its own corrections, or is given some, not both"):
        train(read_config(config.run), overwrite=True)


@pytest.mark.thorough
def test_corrections_that_were_recorded_by_hand_are_learned_from(walk: Path, tmp_path: Path):
    config = make_config(tmp_path / "run", steps=2)
    train(dataclasses.replace(config, corrections=1))
    recorded = read_config(config.run).datasets[0]
    other = make_config(tmp_path / "other", datasets=(recorded,), corrections=0, steps=2)
    assert train(other).step == 2
    assert sizes(other.run) == {"walk": 40}


@pytest.mark.thorough
def test_interrupted_while_it_records_it_goes_on_with_what_was_asked_for(
    walk: Path, tmp_path: Path
):
    whole = make_config(tmp_path / "whole")
    train(whole)
    shutil.move(walk / "mugato" / "walk", tmp_path / "done")
    record(walk_task(), RecordConfig(episodes=20))
    config = make_config(tmp_path / "run")

    def interrupt(line: str) -> None:
        if line.startswith("Recording 20 corrections") and "round 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupt, match="67% of the budget"):
        train(config, on_status=interrupt)
    assert with_saved_corrections(config).rounds == 1
    train(config, resume=True)
    assert losses(config.run) == losses(whole.run)
    assert (config.run / WEIGHTS).read_bytes() == (whole.run / WEIGHTS).read_bytes()


@pytest.mark.thorough
def test_killed_at_every_stage_it_comes_to_the_same(walk: Path, tmp_path: Path):
    whole = make_config(tmp_path / "whole")
    train(whole)
    shutil.move(walk / "mugato" / "walk", tmp_path / "done")
    record(walk_task(), RecordConfig(episodes=20))
    run = tmp_path / "run"
    # In the first part after a save; at its end, which is not saved yet; while corrections are
    # recorded; when they are, but nothing says so; in the second part after a save.
    moments = ("_step 3", "before_other_data 1", "executemany 7", "save_config 2", "_step 5")
    for moment in moments:
        flags = ["--resume"] if moment != moments[0] else []
        process = subprocess.run(
            [sys.executable, "-m", "tests.corrections.training", str(run), moment, *flags],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=600,
            capture_output=True,
            text=True,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
    train(make_config(run), resume=True)
    assert losses(run) == losses(tmp_path / "whole")
    assert (run / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


@pytest.mark.thorough
def test_prompts_show_demonstrations_alone(walk: Path, tmp_path: Path):
    config = make_config(tmp_path / "run", steps=2, corrections=1)
    train(config)
    source = open_sources(read_config(config.run).datasets)["walk"]
    assert (len(source), source.num_demonstrations) == (40, 20)
    settings = WindowConfig(context_length=64, prompt_share=1.0, acting_prompt_share=0.5)
    windows = EpisodeWindows(source, tiny_tokenizer(), settings)
    generator, led = np.random.default_rng(0), set()
    for index in list(range(40)) * 5:
        spans = windows.sample(index, generator).spans
        led |= {span.episode for span in spans[:-1]}
        assert spans[-1].episode == index
        windows.encode(windows.sample(index, generator))
    assert led == set(range(20))
    corrected = open_minari(read_config(config.run).datasets[0].corrections[0])
    np.testing.assert_equal(source[20].executed, corrected[0].executed)
    np.testing.assert_equal(source.window(39, 0, 2).actions, corrected.window(19, 0, 2).actions)
