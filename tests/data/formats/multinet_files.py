"""Small copies of MultiNet's downloads (v1.0), as src/v1/centralized_downloader.py leaves them."""

import base64
import csv
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
# The fifth of ten that `random.seed(42)` and `random.sample(range(10), 2)` set aside as a test.
TESTED = {1, 0}


def picture(color: str, *, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), COLORS[color], np.uint8)


def png(pixels: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def write_lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_piqa(root: Path) -> None:
    folder = root / "piqa/physicaliqa-train-dev"
    things = ["pot", "cup", "box", "lid", "jar", "bag", "tin", "can", "pan", "bin"]
    rows = [
        {"id": f"id-{i}", "goal": f"use a {thing}", "sol1": f"fill the {thing}", "sol2": "eat it"}
        for i, thing in enumerate(things)
    ]
    rows[5]["sol2"] = ""
    rows[6]["sol1"] = "1. open it\n2. close it"
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "dev.jsonl", [{**rows[0], "goal": "dev"}])
    (folder / "train-labels.lst").write_text("".join(f"{i % 3 % 2}\n" for i in range(10)))
    (folder / "dev-labels.lst").write_text("1\n")


def write_bfcl(root: Path) -> None:
    questions, answers = [], []
    for i in range(10):
        questions.append(
            {
                "id": f"multi_turn_base_{i}",
                "question": [
                    [{"role": "user", "content": f"Go into folder {i}."}],
                    [{"role": "user", "content": "List all, the hidden ones too."}],
                    [{"role": "user", "content": "Thank you."}],
                ],
                "initial_config": {"GorillaFileSystem": {"root": {str(i): {"type": "directory"}}}},
                "path": ["GorillaFileSystem.cd", "GorillaFileSystem.ls"],
                "involved_classes": ["GorillaFileSystem"],
            }
        )
        calls = [[f"cd(folder='{i}')", f"cp(source='a  {i}.txt', at=(1, 2))"], ["ls(a=True)"], []]
        answers.append({"id": f"multi_turn_base_{i}", "ground_truth": calls})
    write_lines(root / "bfcl_v3/BFCL_v3_multi_turn_base.json", questions)
    write_lines(root / "bfcl_v3/possible_answer_BFCL_v3_multi_turn_base.json", answers[::-1])


def write_sqa3d(root: Path) -> None:
    for part in ("train", "test"):
        questions, annotations = [], []
        for i, color in enumerate(COLORS):
            question = {"question_id": i, "scene_id": f"scene000{i}_00", "situation": "I sit."}
            questions.append({**question, "question": f"What color do I see, {part}?"})
            right = [{"answer": color.title() + "!", "answer_type": "other"}]
            annotations.append({"question_id": i, "answers": right})
        folder = root / "sqa3d/sqa_task/balanced"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"v1_balanced_{{}}_{part}_scannetv2.json"
        (folder / name.format("questions")).write_text(json.dumps({"questions": questions}))
        table = json.dumps({"annotations": annotations})
        (folder / name.format("sqa_annotations")).write_text(table)
    for i, color in enumerate(list(COLORS)[:3]):  # of the last scene there is no picture
        path = root / f"sqa3d/scans/scene000{i}_00/scene000{i}_00_vh_clean_2_top_down.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(picture(color)))


def write_robot_vqa(root: Path) -> None:
    for part in ("train", "val"):
        folder = root / f"openx_multi_embodiment/robot_vqa_{part}"
        folder.mkdir(parents=True)
        for shard, color in enumerate(COLORS):
            steps = {}
            for step, asked in enumerate(("Q: Is it seen?", "task: look Q: Which color?")):
                observation = {
                    "images": np.stack([picture("white"), picture(color)]),
                    "raw_text_question": asked.encode(),
                    "raw_text_answer": (f"A: {color}." if step else "Yes, it is").encode(),
                }
                steps[step] = {"observation": observation, "is_last": np.bool_(step == 1)}
            torch.save(steps, folder / f"shard_{shard}")


def write_odinw(root: Path) -> None:
    for collection, names in (("BCCD", ["cells", "red", "green"]), ("dice", ["dots", "blue"])):
        for part in ("train", "valid", "test"):
            folder = root / f"odinw/{collection}/{collection}.v1/{part}"
            folder.mkdir(parents=True)
            images, boxes = [], []
            for i, name in enumerate(names[1:]):
                pixels = picture("white", side=64)
                pixels[8:24, 16:48] = COLORS[name]
                (folder / f"{name}.png").write_bytes(png(pixels))
                images.append({"id": i, "file_name": f"{name}.png"})
                box = {"id": i, "image_id": i, "category_id": i + 1}
                boxes.append({**box, "bbox": [16.5, 8, 32, 16]})
                boxes.append({**box, "id": 9 + i, "bbox": [3, 3, 0.5, 2]})  # nothing in it
            table = {"images": images, "annotations": boxes}
            table["categories"] = [{"id": i, "name": name} for i, name in enumerate(names)]
            (folder / "_annotations.coco.json").write_text(json.dumps(table))


def overcooked_rows() -> list[dict[str, Any]]:
    actions = [[[0, -1], [0, 1]], [[0, 0], "interact"], [[1, 0], [-1, 0]], ["interact", [0, -1]]]
    return [
        {
            "state": base64.b64encode(png(picture(color))).decode(),
            "joint_action": str(action),
            "reward": 0,
            "time_left": 59.83 - i,
            "score": 0,
            "time_elapsed": np.float64(0.16 + i),
            "layout_name": "asymmetric_advantages_tomato",
            "trial_id": "A:1",
        }
        for i, (color, action) in enumerate(zip(COLORS, actions, strict=True))
    ]


def write_overcooked(root: Path, *, kind: str = "csv") -> None:
    folder, rows = root / "overcooked_ai/train", overcooked_rows()
    for place in (folder, root / "overcooked_ai/test"):
        place.mkdir(parents=True, exist_ok=True)
        if kind == "csv":
            with (place / "2020_hh_trials_train.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        (place / "2020_hh_trials_train.pickle").write_bytes(pickle.dumps(rows))


def write_all(root: Path) -> Path:
    for write in (
        write_piqa, write_bfcl, write_sqa3d, write_robot_vqa, write_odinw, write_overcooked
    ):  # fmt: skip
        write(root)
    return root
