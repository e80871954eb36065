"""Random environments all the way: record, check, train, evaluate, resume (`make slow`)."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import random_spaces

from mugato.data.check import SourceCheck
from mugato.data.config import DatasetConfig
from mugato.data.formats.minari.read import open_minari
from mugato.evaluation.config import EvaluationConfig
from mugato.evaluation.evaluate import evaluate
from mugato.model.config import GatoConfig
from mugato.recording.recorder import RecordConfig, record
from mugato.spec import Leaf, flatten, spec_of
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.rollout import run_episode
from mugato.tasks.task import Task
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from mugato.training.config import TrainConfig
from mugato.training.run import train_part as train
from tests.tasks.conftest import minari_folder as minari_folder

SOAK_S = float(os.environ.get("MUGATO_SOAK_S", "600"))
FIRST = int(os.environ.get("MUGATO_SOAK_FIRST", "0"))
TOKENIZER = Tokenizer(text=TextTokenizer.paper())


def task_of_number(number: int) -> Task:
    task = gymnasium_task(random_spaces.ENV_ID, env_kwargs={"number": number})
    return replace(task, name=random_spaces.ENV_ID, make_expert=random_spaces.Expert)


def whole_way(number: int, run: Path) -> None:
    task, dataset_id = task_of_number(number), f"soak-{number}"
    record(task, RecordConfig(episodes=3, dataset=dataset_id))
    source = open_minari(dataset_id)
    for seed in range(3):
        equals_what_was_played(task, seed, source[seed])
    check = SourceCheck(source, TOKENIZER)
    for i in range(3):
        check.episode(i)
    for one in check.leaves:
        if one.leaf.kind == "continuous":
            assert not one.saturated
            assert (one.error <= stated_error(one.leaf, one.low, one.high, one.role)).all(), one
    config = TrainConfig(
        run=run, steps=2, batch_rows=2, microbatches=1, processes=1,
        datasets=(DatasetConfig(
            name=random_spaces.ENV_ID, env_kwargs={"number": number}, demonstrations=dataset_id,
        ),),
        model=GatoConfig(width=16, num_layers=1, num_heads=1, head_size=16, context_length=1024),
    )  # fmt: skip
    assert train(config).step == 2
    results = evaluate(run, EvaluationConfig(episodes=2, workers=1, videos=False))
    assert list(results.tasks) == [random_spaces.ENV_ID], results.problems
    assert train(replace(config, steps=3), resume=True).step == 3


def equals_what_was_played(task: Task, seed: int, episode) -> None:
    env = task.make_env()
    assert task.make_expert is not None
    rollout = run_episode(env, task.make_expert, seed=seed, max_episode_steps=9)
    spec = spec_of(env.observation_space, env.action_space)
    for t, (seen, done) in enumerate(zip(rollout.observations[:-1], rollout.actions, strict=True)):
        for tree, value, root, recorded in (
            (spec.observation, seen, "observation", episode.observations),
            (spec.action, done, "action", episode.actions),
        ):
            for path, part in flatten(tree, value, root).items():
                np.testing.assert_equal(recorded[path][t], part)
    np.testing.assert_array_equal(episode.rewards, rollout.rewards.astype(np.float32))


def stated_error(leaf: Leaf, low: np.ndarray, high: np.ndarray, role: str) -> np.ndarray:
    """Half a bin, calculated anew: uniform within an action's bounds, else by the µ-law."""
    rounding = 0.5 if np.issubdtype(leaf.dtype, np.integer) else 1e-3 * np.abs([low, high]).max()
    if role == "action" and leaf.bounded:
        return np.subtract(leaf.high, leaf.low) / 2048 + rounding
    center, scale = np.array(leaf.center or (0.0,)), np.array(leaf.scale or (1.0,))
    largest = np.maximum(np.abs(low - center), np.abs(high - center)) / scale
    return (largest + 0.01) * np.expm1(np.log(25601) / 512) * scale + rounding


@pytest.mark.slow
def test_random_environments_go_all_the_way(minari_folder: Path, tmp_path: Path):
    end, number = time.monotonic() + SOAK_S, FIRST
    while time.monotonic() < end:
        try:
            whole_way(number, tmp_path / str(number))
        except Exception as error:
            env = random_spaces.RandomSpaces(number)
            raise AssertionError(
                f"environment {number}: {env.observation_space} -> {env.action_space}: {error}"
            ) from error
        number += 1
    print(f"{number - FIRST} environments")
    assert number > FIRST + 1
