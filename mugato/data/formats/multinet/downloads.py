"""MultiNet's downloads on disk (v1.0): where training data lies, and how its harness would ask it.

Read are the folders that src/v1/centralized_downloader.py fills. What centralized_processor.py
beside it sets aside as a test is left out, drawn as it draws it; folders called test, public or
private are never entered. Each item becomes what scripts/eval_harness/evaluate.py hands to an
adapter.
"""

import ast
import base64
import binascii
import csv
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mugato.data.formats.multinet.answers import join_calls, normalize_answer
from mugato.data.formats.multinet.plain_pickle import read_plain_pickle
from mugato.data.formats.text_files import read_text, visible_files
from mugato.data.pictures import open_picture

Item = Any

# Never trained on, whatever lies there.
NOT_TRAINING = {"test", "public", "private", "eval", "val", "valid", "validation", "dev"}
TEST_SEED, TEST_SHARE = 42, 0.2

# One player's actions in the order of the 36 joint ones (definitions/overcooked.py).
MOVES = ((0, -1), (0, 1), (1, 0), (-1, 0), (0, 0), "interact")
JOINT_ACTIONS = {joint: number for number, joint in enumerate(product(MOVES, MOVES))}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as the harness makes it, and its right answer: an index or a text."""

    observation: Mapping[str, Any]
    instruction: str
    answer: int | str
    messages: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Download:
    """The training part of a data set.

    Attributes:
        items: places of requests, or all of it where that is little.
        ask: makes a request of an item; it travels to other processes.
    """

    items: Sequence[Item]
    ask: Callable[[Item], Asked]
    remarks: tuple[str, ...] = ()


def find_piqa(folder: Path) -> Download:
    """Find train.jsonl and train-labels.lst, without the fifth that the benchmark tests on."""
    path = _one(folder, "train.jsonl")
    labels = read_text(_one(folder, "train-labels.lst")).split()
    rows = _json_lines(path)
    if len(labels) != len(rows):
        raise ValueError(f"{path} has {len(rows)} lines, but train-labels.lst {len(labels)}")
    kept, remarks = _without_test(folder, [row["id"] for row in rows])
    items = [(rows[i]["goal"], rows[i]["sol1"], rows[i]["sol2"], int(labels[i])) for i in kept]
    return Download(items=items, ask=ask_piqa, remarks=remarks)


def ask_piqa(item: tuple[str, str, str, int]) -> Asked:
    """Ask as src/data_utils/piqa_dataloader.py does."""
    goal, first, second, label = item
    question = (
        f"Goal: {goal}\nSolution 1: {first}\nSolution 2: {second}\n"
        "Which solution is better for the given goal?"
    )
    return Asked(observation={"options": [0, 1]}, instruction=question, answer=label)


def find_bfcl(folder: Path) -> Download:
    """Find the turns of all conversations but the fifth that the benchmark tests on."""
    questions = _json_lines(_one(folder, "BFCL_v3_multi_turn_base.json"))
    answers = _json_lines(_one(folder, "possible_answer_BFCL_v3_multi_turn_base.json"))
    right = {row["id"]: row["ground_truth"] for row in answers}
    kept, remarks = _without_test(folder, [row["id"] for row in questions])
    turns = [
        (questions[i], right[questions[i]["id"]], turn)
        for i in kept
        for turn in range(len(questions[i]["question"]))
    ]
    items = [one for one in turns if one[1][one[2]] and one[0]["question"][one[2]]]
    if silent := len(turns) - len(items):
        remarks = (*remarks, f"{silent} turns that call nothing are left out")
    return Download(items=items, ask=ask_bfcl, remarks=remarks)


def ask_bfcl(item: tuple[Mapping[str, Any], Sequence[Sequence[str]], int]) -> Asked:
    """Ask as src/data_utils/bfcl_dataloader.py and the harness do, one turn after the others."""
    row, right, turn = item
    messages = []
    for said, calls in zip(row["question"][:turn], right[:turn], strict=True):
        messages += said
        if calls:
            messages.append({"role": "assistant", "content": join_calls(calls)})
    return Asked(
        observation={"text_observation": _bfcl_prompt(row)},
        instruction=row["question"][turn][-1]["content"],
        messages=messages,
        answer=join_calls(right[turn]),
    )


def _bfcl_prompt(row: Mapping[str, Any]) -> str:
    parts = []
    if configured := row.get("initial_config"):
        parts += ["Initial Environment Configuration:", json.dumps(configured, indent=2), ""]
    if classes := row.get("involved_classes"):
        parts += [f"Available Tool Classes: {', '.join(classes)}", ""]
    parts.append("Multi-turn Conversation:")
    for turn, messages in enumerate(row["question"], start=1):
        parts.append(f"\n=== Turn {turn} ===")
        parts += [f"{m.get('role', 'user').capitalize()}: {m.get('content', '')}" for m in messages]
    return "\n".join(
        (
            *parts,
            "\n" + "=" * 50,
            "Task: For each turn in the conversation above, provide the sequence of function calls "
            "needed to complete the user's request.",
            "Format: Each function call should be in the format: "
            "function_name(param1=value1, param2=value2,...)",
            "Output the function calls for each turn in order.",
        )
    )


def find_sqa3d(folder: Path) -> Download:
    """Find the training questions, and scenes drawn from above (sceneNNNN_NN_vh_clean*.png)."""
    part = "train_scannetv2.json"
    questions = _json(_one(folder, f"v1_balanced_questions_{part}"))["questions"]
    annotations = _json(_one(folder, f"v1_balanced_sqa_annotations_{part}"))["annotations"]
    right = {one["question_id"]: one["answers"][0]["answer"] for one in annotations}
    # Scenes of the test lie among them: a picture alone tells no answer.
    pictures = [path for path in visible_files(folder) if path.suffix == ".png"]
    scenes = {"_".join(p.stem.split("_")[:2]): p for p in pictures if p.stem.startswith("scene")}
    known = [one for one in questions if one["question_id"] in right]
    items = [
        (scenes[one["scene_id"]], one, right[one["question_id"]])
        for one in known
        if one["scene_id"] in scenes
    ]
    if known and not items:
        raise ValueError(
            f"{folder}: no picture of a scene (sceneNNNN_NN_vh_clean_top_down.png); they are drawn "
            "from ScanNet's scans by the benchmark's processor"
        )
    unseen = len(questions) - len(items)
    remarks = (f"{unseen} questions without a scene's picture or an answer",) if unseen else ()
    return Download(items=items, ask=ask_sqa3d, remarks=remarks)


def ask_sqa3d(item: tuple[Path, Mapping[str, Any], str]) -> Asked:
    """Ask as src/data_utils/sqa3d_dataloader.py does."""
    path, one, answer = item
    told = {"Scene": one["scene_id"], "Situation": one.get("situation")}
    told |= {"Question": one["question"], "Alternative": one.get("alternative")}
    lines = [f"{name}: {text}" for name, text in told.items() if text]
    closing = (
        "Please answer the question/alternative question based on the provided scene image and "
        "context situation."
    )
    return Asked(
        observation={"image_observation": _picture(path.read_bytes(), str(path))},
        instruction="\n".join((*lines, closing)),
        answer=normalize_answer(answer),
    )


def find_robot_vqa(folder: Path) -> Download:
    """Find the steps of the training episodes, a `torch.save` file each (robot_vqa_train)."""
    paths = [path for path in _training(folder) if path.name.startswith("shard_")]
    paths = sorted(paths, key=lambda path: int(path.name.rpartition("_")[2]))
    items = [(path, step) for path in paths for step in _shard(path)]
    return Download(items=items, ask=ask_robot_vqa)


def ask_robot_vqa(item: tuple[Path, Any]) -> Asked:
    """Ask as src/data_utils/openx_dataloader.py does."""
    path, step = item
    seen = _shard(path)[step]["observation"]
    question, answer = (
        bytes(seen[f"raw_text_{what}"]).decode() for what in ("question", "answer")
    )  # fmt: skip
    context, mark, asked = question.partition("Q:")
    if mark and not context:
        question = f"Question: {asked.strip()}"
    elif mark:
        question = f"Task and Context: {context.strip()}\n Question: {asked.strip()}"
    return Asked(
        observation={"image_observation": np.asarray(seen["images"][-1], np.uint8)},
        instruction=question,
        answer=normalize_answer(answer),
    )


@lru_cache(maxsize=2)  # an episode's steps are mostly asked for together
def _shard(path: Path) -> Mapping[Any, Any]:
    return read_plain_pickle(path)


def find_odinw(folder: Path) -> Download:
    """Find the boxes in the training pictures of each of its sets (COCO, as Roboflow writes it)."""
    items = []
    for collection in sorted(path for path in folder.iterdir() if path.is_dir()):
        tables = [p for p in _training(collection) if p.name == "_annotations.coco.json"]
        if tables:
            items += _boxes(min(tables, key=_preference), collection.name)
    return Download(items=items, ask=ask_odinw)


def _preference(path: Path) -> tuple[bool, bool, bool, str]:
    """Order as the benchmark's processor does: large before tiled, raw, without augmentation."""
    name = str(path)
    return "large" not in name, "raw" not in name.lower(), "aug" in name.lower(), name


def _boxes(table: Path, collection: str) -> Iterator[Item]:
    coco = _json(table)
    names = {one["id"]: one["name"] for one in coco["categories"]}
    files = {one["id"]: table.parent / one["file_name"] for one in coco["images"]}
    options = list(names.values())
    for one in coco["annotations"]:
        left, top, width, height = (int(side) for side in one["bbox"])
        if width > 0 and height > 0 and one["image_id"] in files and one["category_id"] in names:
            box = max(0, left), max(0, top), width, height
            yield files[one["image_id"]], box, options, names[one["category_id"]], collection


def ask_odinw(item: tuple[Path, tuple[int, int, int, int], list[str], str, str]) -> Asked:
    """Ask as src/data_utils/odinw_dataloader.py does, about a box as the processor cuts it out."""
    path, (left, top, width, height), options, name, collection = item
    picture = _picture(path.read_bytes(), str(path))[top : top + height, left : left + width]
    if not picture.size:
        raise ValueError(f"{path}: a box at {left}, {top} lies outside of the picture")
    listed = "".join(f"Option {i}: {option}\n" for i, option in enumerate(options))
    question = (
        f"What object is shown in this image from the {collection} dataset?\n{listed}"
        f"Output the number (0-{len(options) - 1}) of the correct option only."
    )
    observation = {"image_observation": picture, "options": options}
    return Asked(observation=observation, instruction=question, answer=name)


def find_overcooked(folder: Path) -> Download:
    """Find the timesteps of games (CSV, or a list of dicts as a pickle), drawn as pictures."""
    files = [path for path in _training(folder) if path.suffix in (".csv", ".pickle")]
    tables = {path.with_suffix(""): path for path in sorted(files, reverse=True)}  # CSV wins
    items = [(str(path), row) for path in sorted(tables.values()) for row in _rows(path)]
    return Download(items=items, ask=ask_overcooked)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = read_plain_pickle(path)
    columns = ("state", "joint_action", "layout_name", "time_left", "time_elapsed")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(f"{path} holds no list of timesteps, which are dicts")
    if missing := [name for name in columns if rows and name not in rows[0]]:
        raise ValueError(f"{path}: its timesteps have no {missing}")
    return [{name: row[name] for name in columns} for row in rows]


def ask_overcooked(item: tuple[str, Mapping[str, Any]]) -> Asked:
    """Ask as the harness does: the layout, the time and a picture, at every timestep."""
    path, row = item
    try:
        data = base64.b64decode(row["state"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError(
            f"{path}: a state is no picture: {str(row['state'])[:40]!r}...; the benchmark's "
            "processor draws the states of the game's own records"
        ) from None
    text = (
        f"Layout: {row['layout_name']}\nTime left: {float(row['time_left']):.1f}s\n"
        f"Time elapsed: {float(row['time_elapsed']):.1f}s"
    )
    picture = _picture(data, f"{path}: a state")
    observation = {"image_observation": picture, "options": list(range(len(JOINT_ACTIONS)))}
    action = _joint_action(path, row["joint_action"])
    return Asked(observation=observation, instruction=text, answer=action)


def _joint_action(path: str, value: Any) -> int:
    """Return the number of what two players do: `[[0, -1], 'interact']`, or that as a text.

    >>> _joint_action("", "[[0, -1], 'interact']"), _joint_action("", [(0, 0), (0, 0)])
    (5, 28)
    """
    try:
        both = ast.literal_eval(value) if isinstance(value, str) else value
        joint = tuple(p.lower() if isinstance(p, str) else tuple(map(int, p)) for p in both)
        return JOINT_ACTIONS[joint]  # type: ignore[index]
    except (ValueError, SyntaxError, TypeError, KeyError):
        raise ValueError(f"{path}: {value!r} is not what two players may do") from None


FIND: Mapping[str, Callable[[Path], Download]] = {
    "overcooked_ai": find_overcooked,
    "piqa": find_piqa,
    "odinw": find_odinw,
    "sqa3d": find_sqa3d,
    "robot_vqa": find_robot_vqa,
    "bfcl": find_bfcl,
}


def _training(folder: Path) -> list[Path]:
    """Return the files that are said to be for training, by their own or a folder's name."""
    found = []
    for path in visible_files(folder):
        words = {word.lower() for word in path.relative_to(folder).parts[:-1]}
        is_training = any("train" in part.lower() for part in path.relative_to(folder).parts)
        if is_training and not words & NOT_TRAINING:
            found.append(path)
    return found


def _one(folder: Path, name: str) -> Path:
    """Return the only file of a name, in the folder or below, but for tests."""
    found = [
        path
        for path in visible_files(folder)
        if path.name == name and not NOT_TRAINING & {*path.relative_to(folder).parts}
    ]
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(found)} files {name!r}, not one")
    return found[0]


def _without_test(folder: Path, ids: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return the places of what is not tested on, and how much was left out.

    The processor seeds Python's generator with 42 and draws a fifth, always the same. It writes
    what it drew to `*_test_identifiers.json`, which counts, too, where it lies there.
    """
    drawn = random.Random(TEST_SEED).sample(range(len(ids)), int(TEST_SHARE * len(ids)))
    tested = {ids[place] for place in drawn}
    for path in visible_files(folder):
        if path.name.endswith("_test_identifiers.json"):
            tested |= set(_json(path)["test_identifiers"])
    kept = [place for place, name in enumerate(ids) if name not in tested]
    remark = f"{len(ids) - len(kept)} of {len(ids)} are the benchmark's test and left out"
    return kept, (remark,)


def _picture(data: bytes, where: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a picture as the benchmark does: without transparency, not over white."""
    return np.asarray(open_picture(data, where).convert("RGB"))


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


def _json_lines(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} line {number} is no JSON: {error}") from None
    return rows
