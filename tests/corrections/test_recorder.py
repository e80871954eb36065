"""The agent acts, the expert is learned from, and both lie in the data set as they were."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium import spaces

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Agent
from mugato.corrections.recorder import CorrectionConfig, record_corrections, weights_of
from mugato.data.formats.minari.read import open_minari
from mugato.recording.recorder import RecordConfig, RecordReport, record
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from mugato.tasks.task import CORRECTION_SEEDS, Task
from tests.agents import tiny_agent
from tests.corrections.walks import LIMIT, walk_task


def specs(*tasks: Task) -> dict:
    found = {}
    for task in tasks:
        with closing(task.make_env()) as env:
            found[task.name] = spec_of(env.observation_space, env.action_space)
    return found


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    agent = tiny_agent(specs(walk_task(), walk_task(is_box=True)))
    agent.save_pretrained(tmp_path / "agent")
    return tmp_path / "agent"


def correct(task: Task, driver: Path, **settings) -> RecordReport:
    config = CorrectionConfig(**{"driver": driver, "dataset": "it", "episodes": 20, **settings})
    return record_corrections(task, config)


def contents(root: Path, name: str = "it-v0") -> list[bytes]:
    data = root / name / "data"
    metadata = (data / "metadata.json").read_bytes().replace(name.encode(), b"")
    return [(data / "main_data.hdf5").read_bytes(), metadata]


def replay(task: Task, dataset_id: str) -> tuple[int, int]:
    """Play what was executed again, asking the expert; count steps at which it was not obeyed."""
    source = open_minari(dataset_id)
    about = minari.load_dataset(source.name).storage.get_episode_metadata(range(len(source)))
    strayed = steps = 0
    with closing(task.make_env()) as env:
        for episode, known in zip((source[i] for i in range(len(source))), about, strict=True):
            assert known["seed"] in CORRECTION_SEEDS
            observation, _ = env.reset(seed=known["seed"])
            expert = task.make_expert(env)
            assert episode.executed is not None
            (seen,), (taught,) = episode.observations.values(), episode.actions.values()
            (executed,) = episode.executed.values()
            for t in range(len(episode)):
                np.testing.assert_array_equal(seen[t], observation)
                np.testing.assert_array_equal(taught[t], expert(observation))
                observation, reward, *_ = env.step(executed[t])
                assert reward == episode.rewards[t]
                strayed += not np.array_equal(executed[t], taught[t])
                steps += 1
    return strayed, steps


@pytest.mark.parametrize("is_box", [False, True])
@pytest.mark.parametrize("expert_share", [0.0, 1.0])
def test_what_was_executed_gives_the_same_states_and_the_expert_says_the_same_in_them(
    is_box: bool, expert_share: float, driver: Path, minari_folder: Path
):
    task = walk_task(is_box=is_box)
    report = correct(task, driver, expert_share=expert_share)
    strayed, steps = replay(task, "it")
    assert steps == report.timesteps
    assert (0.5 if expert_share == 0 else 0.05) * steps < strayed <= steps
    assert set(report.dropped_by_cause) == {"OSError"} and report.episodes == 20
    kept = minari.list_local_datasets()["it-v0"]["mugato"]
    assert kept["driver_weights"] == weights_of(driver)


def test_where_the_expert_drives_first_its_actions_are_executed(driver: Path, minari_folder: Path):
    record(walk_task(), RecordConfig(episodes=20))
    correct(walk_task(), driver, expert_share=1.0)
    led = open_minari("it")
    obeyed = []
    for episode in (led[i] for i in range(len(led))):
        assert episode.executed is not None
        same = episode.actions["action"] == episode.executed["action"]
        obeyed.append(len(same) if same.all() else int(np.argmin(same)))
    assert min(obeyed) >= 1 and len(set(obeyed)) > 2


@pytest.mark.thorough
def test_any_number_of_workers_records_the_same(driver: Path, minari_folder: Path):
    correct(walk_task(), driver)
    correct(walk_task(), driver, dataset="two", workers=2)
    assert contents(minari_folder) == contents(minari_folder, "two-v0")


def test_where_the_expert_has_no_answer_the_episode_is_cut_and_counted(
    driver: Path, minari_folder: Path
):
    report = correct(walk_task(patience=3), driver, expert_share=0.0)
    assert len(report.cut) > 5 and set(report.cut.values()) == {"AssertionError: what is this?"}
    source = open_minari("it")
    assert min(source.lengths) >= 3 and report.episodes == 20
    dataset = minari.load_dataset("it-v0")
    for i, length in enumerate(source.lengths):
        assert dataset[i].truncations[-1] or dataset[i].terminations[-1]
        assert length <= LIMIT


def test_episodes_are_cut_after_some_lengths_of_a_demonstration(driver: Path, minari_folder: Path):
    task = walk_task()
    report = record(task, RecordConfig(episodes=20))
    usual = report.timesteps / report.episodes
    correct(task, driver, max_lengths=1.5, expert_share=0.0)
    assert max(open_minari("it").lengths) == round(1.5 * usual)


@pytest.mark.thorough
def test_the_data_set_is_named_after_the_weights_and_agents_see_other_worlds(
    driver: Path, tmp_path: Path, minari_folder: Path
):
    task = walk_task(episodes=80)
    other = tiny_agent(specs(task), seed=1)
    other.save_pretrained(tmp_path / "other")
    seeds = []
    for folder in (driver, tmp_path / "other"):
        report = record_corrections(task, CorrectionConfig(driver=folder))
        assert report.dataset_id == f"mugato/walk/corrections-{weights_of(folder)[:12]}-v0"
        assert report.episodes == 20
        dataset = minari.load_dataset(report.dataset_id)
        seeds.append({e["seed"] for e in dataset.storage.get_episode_metadata(range(20))})
    assert not seeds[0] & seeds[1]


# Records corrections by the agent in the first argument, and dies when its function is called for
# the time that the others name.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import mugato.recording.store as store
from mugato.corrections.recorder import CorrectionConfig, record_corrections
from tests.corrections.walks import walk_task

calls, number = 0, int(sys.argv[2])
append = store.RecordingStore.append

def dying(self, outcome):
    global calls
    calls += 1
    append(self, outcome)
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)

store.RecordingStore.append = dying
config = CorrectionConfig(driver=Path(sys.argv[1]), dataset="it", episodes=20)
record_corrections(walk_task(), config)
"""


@pytest.mark.thorough
def test_killed_again_and_again_it_records_the_same(driver: Path, minari_folder: Path):
    correct(walk_task(), driver, dataset="whole")
    for number in (5, 13):  # within the first block, and at its end but one
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(driver), str(number)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=300,
        )
        assert process.returncode == -signal.SIGKILL
    assert correct(walk_task(), driver).continued == 18
    assert contents(minari_folder) == contents(minari_folder, "whole-v0")
    with pytest.raises(ValueError, match="recorded already"):
        correct(walk_task(), driver)


def test_what_cannot_be_corrected_is_refused(driver: Path, tmp_path: Path, minari_folder: Path):
    with pytest.raises(ValueError, match="it has no expert"):
        correct(replace(walk_task(), make_expert=None), driver)
    with pytest.raises(ValueError, match="does not know it"):
        correct(TASKS["cartpole"], driver)
    with pytest.raises(ValueError, match="holds no agent"):
        correct(walk_task(), tmp_path / "nothing")
    with pytest.raises(ValueError, match="corrections use seeds from 4000000"):
        correct(walk_task(), driver, first_seed=3_000_000)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-1, 1, (2,))])
def test_given_actions_are_remembered_as_if_they_were_chosen(space: spaces.Space):
    """An agent told to do what another one chose goes on as that one."""
    spec = spec_of(spaces.Discrete(9), space)
    agent: Agent = tiny_agent({"it": spec})
    chooser, told = (
        BatchPolicy(agent, task="it", num_rows=2, inference=InferenceConfig(seed=seed))
        for seed in (1, 2)
    )
    for step in range(4):
        observed = [np.int64(step), np.int64(step + 1)]
        chosen = chooser.select_actions(observed)
        done = told.select_actions(observed, given=[chosen[0], None])
        np.testing.assert_array_equal(done[0], chosen[0])
    for policy in (chooser, told):
        policy.seed_row(0, 7)
    last = [policy.select_actions([np.int64(0)] * 2)[0] for policy in (chooser, told)]
    np.testing.assert_array_equal(*last)
