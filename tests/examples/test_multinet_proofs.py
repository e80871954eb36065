"""MultiNet v1.0, proved: right answers score the maximum, and what was learned is answered.

The scores are those of its src/eval_harness/scoring, written out here by us; what is asked is made
as its scripts/eval_harness/evaluate.py makes it.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from examples.multinet.adapter import MultiNetAdapter, _prediction
from mugato.agent import Agent
from mugato.corrections.rounds import train
from mugato.data.config import DatasetConfig
from mugato.data.formats.multinet.answers import extract_calls
from mugato.data.formats.multinet.downloads import FIND, Asked
from mugato.data.formats.multinet.names import FOLDERS
from mugato.data.formats.multinet.read import expanded
from mugato.data.formats.multinet.requests import DATASETS, read_request
from mugato.training.config import TokenizerConfig
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import multinet
from tests.agents import tiny_agent
from tests.data.formats.lerobot_files import LENGTHS, TASKS, VIDEO, Files, level
from tests.data.formats.multinet_files import COLORS, write_all

Predictions = Sequence[Mapping[str, Any]]


def scored_texts(predictions: Predictions, right: Sequence[str]) -> float:
    """Score as vqa_metrics.py does: only the right answer is normalized there."""
    matches = []
    for given, answer in zip(predictions, right, strict=True):
        text = given["extracted_outputs"]
        assert isinstance(text, str) and text.strip()  # else it is invalid
        answer = " ".join(re.sub(r"[^\w\s]", "", answer.lower()).split())
        matches.append(text == answer)
    return float(np.mean(matches))


def scored_choices(predictions: Predictions, right: Sequence[int], count: int) -> float:
    """Score as mcq_metrics.py and classification_metrics.py do: overall_accuracy."""
    given = [one["extracted_outputs"] for one in predictions]
    assert all(isinstance(x, int | np.integer) and 0 <= x < count for x in given)
    return float(np.mean(np.array(given) == np.array(right)))


def scored_actions(predictions: Predictions, right: Sequence[int]) -> tuple[float, float]:
    """Score as gameplay_metrics.py does: exact_match and the mean Brier MAE, of 0 to 2."""
    maes = []
    for given, answer in zip(predictions, right, strict=True):
        shares, wanted = np.zeros(36), np.zeros(36)
        shares[given["extracted_outputs"]] = wanted[answer] = 1.0
        maes.append(np.abs(shares - wanted).sum())
    return scored_choices(predictions, right, 36), float(np.mean(maes))


def scored_vectors(predictions: Predictions, right: Sequence[np.ndarray]) -> tuple[float, float]:
    """Score as robotics_metrics.py does: action_success_rate as a share, avg_dataset_amae."""
    maes, successes = [], []
    for given, answer in zip(predictions, right, strict=True):
        vector = given["extracted_outputs"]
        assert isinstance(vector, list | tuple | np.ndarray) and len(vector) == len(answer)
        assert np.isfinite(np.asarray(vector, float)).all()
        maes.append(np.abs(np.array(vector) - answer).mean())
        successes.append(np.array_equal(np.array([float(x) for x in vector]), answer))
    return float(np.mean(successes)), float(np.mean(maes))


def scored_calls(predictions: Predictions, right: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Score as bfcl_metrics.py does: shares of turns that match, and recall until failure."""
    matches, recalls = [], []
    for given, calls in zip(predictions, right, strict=True):
        found = given["extracted_outputs"]
        assert found or not calls  # else the turn is invalid
        matches.append(found == calls)
        equal = [a == b for a, b in zip(found, calls, strict=False)]
        until = equal.index(False) if False in equal else len(equal)
        recalls.append(until / len(calls) if calls else 1.0)
    return float(np.mean(matches)), float(np.mean(recalls))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("multinet"))


def items(root, dataset: str) -> list[Asked]:
    download = FIND[dataset](root / FOLDERS[dataset])
    return [download.ask(item) for item in download.items]


def handed_back(asked: Sequence[Asked], dataset: str, answers: Sequence[Any]) -> Predictions:
    """Return what becomes of answers that the agent gives, here the right ones."""
    requests = [read_request(a.observation, a.instruction, dataset, a.messages) for a in asked]
    return [_prediction(r, answer) for r, answer in zip(requests, answers, strict=True)]


def test_right_answers_score_the_maximum(root):
    asked = items(root, "overcooked_ai")
    right = [int(a.answer) for a in asked]
    assert scored_actions(handed_back(asked, "overcooked_ai", right), right) == (1.0, 0.0)

    asked = items(root, "piqa")
    right = [int(a.answer) for a in asked]
    assert scored_choices(handed_back(asked, "piqa", right), right, 2) == 1.0

    asked = items(root, "odinw")
    right = [list(a.observation["options"]).index(a.answer) for a in asked]
    assert scored_choices(handed_back(asked, "odinw", right), right, 3) == 1.0

    # As the data has them, before anything of ours has touched them.
    table = root / "sqa3d/sqa_task/balanced/v1_balanced_sqa_annotations_train_scannetv2.json"
    raw = [one["answers"][0]["answer"] for one in json.loads(table.read_text())["annotations"]][:3]
    assert raw[0] == "Red!"
    assert scored_texts(handed_back(items(root, "sqa3d"), "sqa3d", raw), raw) == 1.0
    raw = [answer for color in COLORS for answer in ("Yes, it is", f"A: {color}.")]
    assert scored_texts(handed_back(items(root, "robot_vqa"), "robot_vqa", raw), raw) == 1.0

    asked = items(root, "bfcl")
    calls = [
        calls
        for i in range(2, 10)
        for calls in ([f"cd(folder='{i}')", f"cp(source='a  {i}.txt', at=(1, 2))"], ["ls(a=True)"])
    ]
    assert scored_calls(handed_back(asked, "bfcl", [a.answer for a in asked]), calls) == (1.0, 1.0)


# Of each set: the floats of an action in alphabetical order, as its statistics count them; and how
# many of them, or of what is made of them, are compared (evaluate.py, definitions/openx.py).
ROBOTS = {
    "openx_single_arm": (7, 7),
    "openx_mobile_manipulation": (10, 7),
    "openx_bimanual": (14, 14),
    "openx_wheeled_robot": (2, 2),
    "openx_quadrupedal": (12, 12),
}


@pytest.mark.parametrize("dataset", ROBOTS)
def test_right_vectors_score_the_maximum(dataset):
    count, compared = ROBOTS[dataset]
    generator = np.random.default_rng(0)
    all_floats = generator.normal(size=(20, count)) * np.geomspace(1e-3, 1e3, count)
    stats = {"min": all_floats.min(0), "max": all_floats.max(0)}
    right = all_floats
    if dataset == "openx_single_arm":  # rotation_delta, terminate_episode, world_vector
        right = np.c_[all_floats[:, 4:7], all_floats[:, :3], generator.integers(0, 2, 20)]
    if dataset == "openx_mobile_manipulation":  # ..., gripper, rotation_delta, world_vector
        right = np.c_[all_floats[:, 7:], all_floats[:, 4:7], generator.integers(0, 3, 20) / 2]
    observation = {"image": np.zeros((4, 4, 3), np.uint8), "action_stats": stats}
    asked = [Asked(observation=observation, instruction="go", answer=0)] * 20
    predictions = handed_back(asked, dataset, list(right))
    assert right.shape[1] == compared
    assert scored_vectors(predictions, list(right)) == (1.0, 0.0)


def asked_of(dataset: str, seed: int) -> tuple[dict[str, Any], Any]:
    """Return what the harness hands over, with what its loaders and definitions may hold."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (24 + seed, 32, 3), dtype=np.uint8)
    black = np.zeros((32, 32, 3), np.uint8)  # what it gives where a picture is missing
    seen = black if seed % 2 else image
    match DATASETS[dataset].answer:
        case "vector":
            count = ROBOTS[dataset][0]
            stats = {"min": np.full(count, -1.0), "max": np.linspace(0, 5, count)}
            stats |= {"mean": np.zeros(count), "std": np.ones(count), "size": [count]}
            described = {i: ("X axis", -1, 1) if i % 2 else None for i in range(count)}
            observation = {"text_observation": "navigate to the goal", "options": described}
            picture = None if seed % 2 else image
            observation |= {"action_stats": stats, "image_observation": picture}
            told = ([["Navigate offices."], ["Avoid people."]], ["Flip pot upright."], None)
            return observation, told[seed % 3]
        case "action":
            meanings = {"NORTH": {"coordinate": "(0, -1)", "description": "Move up. " * 20}}
            options = {
                i: (f"Player 0: {i}", "Joint Action: {N, S} -> {(0, -1)}") for i in range(36)
            }
            observation = {"text_observation": meanings, "options": options}
            text = "Layout: counter_circuit\nTime left: 59.8s\nTime elapsed: 0.2s"
            return {**observation, "image_observation": seen}, text
        case "calls":
            return {"text_observation": "Available Tool Classes: X\n" * seed}, "Call f(a=(1, 2))."
        case "text":
            return {"image_observation": seen}, "Scene: scene0000_00\nQuestion: How many?"
    if dataset == "piqa":
        solutions = ("", "1. mix\n2. bake") if seed % 2 else ("mix", "bake")
        question = "Goal: bake\nSolution 1: {}\nSolution 2: {}\nWhich solution is better?"
        return {"options": [0, 1]}, question.format(*solutions)
    question = "What object is shown?\nOption 0: ball\nOption 1: key\nOutput the number."
    return {"image_observation": seen, "options": ["ball", "key"]}, question


def is_valid(prediction: Mapping[str, Any], dataset: str) -> bool:
    """Tell what the scorers count as valid, by the rules of each."""
    given = prediction["extracted_outputs"]
    match DATASETS[dataset].answer:
        case "vector":
            is_list = isinstance(given, list | tuple | np.ndarray)
            is_long = is_list and len(given) == ROBOTS[dataset][1]
            return is_long and bool(np.isfinite(given).all())
        case "calls":
            return bool(given) and all(isinstance(call, str) for call in given)
        case "text":
            return isinstance(given, str) and bool(given.strip())
    most = 36 if dataset == "overcooked_ai" else 2
    return isinstance(given, int) and 0 <= given < most


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_answer_is_invalid_on_random_weights(dataset):
    for seed in range(3):
        agent = tiny_agent({}, context_length=96, seed=seed)
        with torch.no_grad():
            table = agent.model.embedding.table.weight
            table.add_(torch.randn(table.shape, generator=torch.Generator().manual_seed(seed)))
        adapter = MultiNetAdapter()
        adapter.initialize(agent=agent, max_text_tokens=24)
        rows = [asked_of(dataset, 6 * seed + row) for row in range(6)]
        history = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "f(a=1)"}]
        histories = [history if dataset == "bfcl" and i % 2 else [] for i in range(6)]
        predictions = adapter.batch_predict_actions(
            [row[0] for row in rows], [row[1] for row in rows], dataset, histories
        )
        assert all(is_valid(one, dataset) for one in predictions), predictions
        assert all(type(one["raw_output"]) is str for one in predictions)


def robot_folder(root) -> str:
    """Write a robot's demonstrations that show a picture and say a task, as bridge's do."""
    files = Files(folder=root / "robot")
    for name in (VIDEO, "observation.state"):
        del files.info["features"][name]
    del files.columns["observation.state"]
    return f"lerobot:{files.write()}"


@pytest.mark.thorough
def test_what_was_learned_of_every_family_is_answered(root, tmp_path):
    robot = robot_folder(tmp_path)
    names = expanded(f"multinet:{root}?size_px=32&max_characters=200")
    # Calls that repeat a number out of the question take the longest to learn.
    weights = [3.0 if name.partition("?")[0].endswith("bfcl") else 1.0 for name in names]
    datasets = [DatasetConfig(name=n, weight=w) for n, w in zip(names, weights, strict=True)]
    base = multinet(root)
    model = dataclasses.replace(
        base.model, width=64, num_layers=2, num_heads=2, head_size=32, hidden_size=256,
        context_length=256, patch_width=32,
    )  # fmt: skip
    config = dataclasses.replace(
        base,
        run=tmp_path / "run",
        datasets=(*datasets, DatasetConfig(name=robot, history=1)),
        model=model,
        tokenizer=TokenizerConfig(text_pieces=400, max_patches=4),
        optimizer=OptimizerConfig(lr=3e-3, warmup_steps=20, final_fraction=0.0, muon_lr_factor=2.0),
        max_tokens=None,
        steps=320,
        processes=1,
    )
    train(config)
    adapter = MultiNetAdapter()
    adapter.agent_tasks = {"openx_wheeled_robot": robot}  # type: ignore[misc]
    adapter.initialize(agent=Agent.from_pretrained(config.run))
    shares = {}
    for dataset in FOLDERS:
        asked = items(root, dataset)
        given = adapter.batch_predict_actions(
            [a.observation for a in asked],
            [a.instruction for a in asked],
            dataset,
            [a.messages for a in asked],
        )
        right = [
            one["extracted_outputs"] == answer_of(a) for one, a in zip(given, asked, strict=True)
        ]
        shares[dataset] = np.mean(right)
    shares["openx_wheeled_robot"] = share_of_robot_actions(adapter)
    assert min(shares.values()) >= 0.95, shares


def answer_of(asked: Asked) -> Any:
    if isinstance(asked.answer, str) and "options" in asked.observation:
        return list(asked.observation["options"]).index(asked.answer)
    if isinstance(asked.answer, str) and "text_observation" in asked.observation:
        return extract_calls(asked.answer)
    return asked.answer


def share_of_robot_actions(adapter: MultiNetAdapter) -> float:
    """Return the share of numbers that are met within a twentieth of their range."""
    low, high = np.array([100.0, -2.5]), np.array([103.0, 0.0])
    near = []
    for episode, length in enumerate(LENGTHS[:3]):
        for timestep in range(length):
            pixels = np.full((32, 48, 3), level(episode, timestep), np.uint8)
            pixels[..., 1:] = 0, 255
            observation = {
                "image_observation": pixels,
                "text_observation": TASKS[episode % 2],
                "action_stats": {"min": low, "max": high},
            }
            given = adapter.predict_action(observation, None, "openx_wheeled_robot")
            right = np.array([100 + episode, -timestep / 2])
            near += list(np.abs(given["extracted_outputs"] - right) <= (high - low) / 20)
    return float(np.mean(near))
