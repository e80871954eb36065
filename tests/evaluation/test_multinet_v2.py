"""The agent behind MultiNet v2.0's interface: what it reads, when it begins, and its files.

The benchmark's harness is not here; in its place stands a small one with the same names, which
calls a model as the benchmark's does.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.policy import Policy
from mugato.agent import Sampling
from mugato.cli.main import main
from mugato.evaluation.multinet_v2 import (
    MultiNetV2Agent,
    harness_agent,
    maze_task,
    play_files,
    run_harness,
    serve_files,
)
from mugato.spec import spec_of
from mugato.tasks.domains.mazes import maze_file
from mugato.tasks.envs.maze_files import read_maze
from mugato.tasks.envs.mazes import Mazes, WithAim, look, seen
from tests.agents import tiny_agent

TIERS = Path(__file__).parents[1] / "tasks" / "multinet_v2" / "tiers"
CORRIDOR, ROOMS = TIERS / "maze_corridor_002.json", TIERS / "maze_rooms_003.json"


class Hidden:
    """What a trained model must not read."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"read {name}")


@dataclass
class ModelInput:
    image: Any
    text_prompt: str | None
    step_number: int
    max_steps: int = 100
    action_space: dict = field(default_factory=dict)
    additional_context: str | None = None
    prior_images: list = field(default_factory=list)
    task_spec: Any = field(default_factory=Hidden)
    grid_state: Any = field(default_factory=Hidden)


@pytest.fixture(scope="module")
def agent():
    env = WithAim(Mazes())
    return tiny_agent(
        {"mazes-keys": spec_of(env.observation_space, env.action_space)},
        history=1,
        context_length=256,
    )


def frames(path: Path, count: int) -> list[ModelInput]:
    env = Mazes(maze=read_maze(path), render_mode="rgb_array")
    env.reset(seed=0)
    inputs = []
    for step in range(count):
        inputs.append(ModelInput(env.render(), env.maze.mission, step + 1))
        env.step(step % 3)
    return inputs


def test_it_answers_as_the_policy_does_and_reads_nothing_that_is_hidden(agent):
    inference = InferenceConfig(sampling=Sampling(temperature=0.0))
    played = MultiNetV2Agent(agent, inference=inference)
    policy = Policy(agent, task="mazes-keys", inference=inference)
    for one in frames(CORRIDOR, 5):
        observation = {**look(seen(one.image)), "mission": one.text_prompt}
        assert played.predict(one).action == policy.select_action(observation)["move"]
    assert played.model_name == "mugato"


def test_an_episode_begins_at_step_1_and_is_the_same_each_time(agent):
    played, inputs = MultiNetV2Agent(agent), frames(ROOMS, 8)
    first = [played.predict(one).action for one in inputs]
    assert [played.predict(one).action for one in inputs] == first
    assert all(action in range(7) for action in first)
    played.teardown()
    with pytest.raises(ValueError, match="an episode begins with step_number 1"):
        played.predict(inputs[3])


def test_several_episodes_at_once_are_answered_as_each_alone(agent):
    one, two = frames(CORRIDOR, 6), frames(ROOMS, 6)
    both = MultiNetV2Agent(agent)
    together = [[a.action for a in both.predict_batch(pair)] for pair in zip(one, two, strict=True)]
    alone = []
    for inputs in (one, two):
        single = MultiNetV2Agent(agent)
        alone.append([single.predict(model_input).action for model_input in inputs])
    assert together == [list(pair) for pair in zip(*alone, strict=True)]


def test_what_is_no_picture_of_a_maze_and_who_knows_no_mazes_is_refused(agent):
    with pytest.raises(ValueError, match="shows no maze: expected uint8, 32 pixels a cell"):
        MultiNetV2Agent(agent).predict(ModelInput(np.zeros((100, 64, 3), np.uint8), "", 1))
    with pytest.raises(ValueError, match="no agent in the picture"):
        MultiNetV2Agent(agent).predict(ModelInput(np.zeros((64, 64, 3), np.uint8), "", 1))
    env = Mazes()
    other = tiny_agent({"cartpole": spec_of(env.observation_space, env.action_space)})
    with pytest.raises(ValueError, match="trained on no mazes"):
        maze_task(other)


def test_task_files_are_played_to_their_end(agent):
    paths = [CORRIDOR, TIERS / "push_block_001.json"]
    results = list(play_files(MultiNetV2Agent(agent), paths))
    assert [one.shortest for one in results] == [27, 15]
    for one, path in zip(results, paths, strict=True):
        limit = json.loads(path.read_text())["max_steps"]
        assert one.success == (one.reward > 0) and (one.success or one.steps <= limit)


def test_requests_in_files_are_answered_and_old_answers_do_not_stay(agent, tmp_path):
    """As the benchmark asks: a picture, then JSON; step numbers begin anew with every task."""
    asked, answers = tmp_path / "input", tmp_path / "output"
    asked.mkdir()
    answers.mkdir()
    (answers / "step_1.json").write_text('{"action": 6}')  # of an earlier job
    steps: list[int] = []
    server = threading.Thread(
        target=lambda: steps.extend(serve_files(MultiNetV2Agent(agent), tmp_path, patience_s=2.0))
    )
    inputs = [*frames(CORRIDOR, 3), *frames(ROOMS, 2)]
    alone = MultiNetV2Agent(agent)
    expected, given = [alone.predict(one).action for one in inputs], []
    server.start()
    time.sleep(0.2)
    for one in inputs:
        name = f"step_{one.step_number}"
        write_request(asked, one)
        until = time.monotonic() + 20
        while not (answers / f"{name}.json").exists() and time.monotonic() < until:
            time.sleep(0.01)
        given.append(json.loads((answers / f"{name}.json").read_text())["action"])
        (asked / f"{name}.json").unlink()
        if one.step_number == 3:
            time.sleep(0.1)
    server.join()
    assert given == expected and steps == [1, 2, 3, 1, 2]


def test_a_server_begins_anywhere_waits_for_what_is_half_written_and_is_alone(agent, tmp_path):
    asked = tmp_path / "input"
    asked.mkdir()
    inputs = frames(CORRIDOR, 4)
    for one in inputs[:3]:  # left by an earlier job, which ended in the middle of an episode
        write_request(asked, one)
        time.sleep(0.01)
    (asked / "step_9.tmp.json").write_text("{")
    steps: list[int] = []
    server = threading.Thread(
        target=lambda: steps.extend(serve_files(MultiNetV2Agent(agent), tmp_path, patience_s=2.0))
    )
    server.start()
    time.sleep(0.5)
    with pytest.raises(ValueError, match="another process is at work"):
        next(serve_files(MultiNetV2Agent(agent), tmp_path, patience_s=1.0))
    (asked / "step_4.json").write_text('{"step_number": 4, "te')
    time.sleep(0.3)
    write_request(asked, inputs[3])
    server.join()
    assert steps == [3, 4]
    (asked / "step_5.json").write_text("half of it")
    with pytest.raises(ValueError, match=r"step_5.json is not JSON|is no request"):
        list(serve_files(MultiNetV2Agent(agent), tmp_path, patience_s=5.0))


def write_request(folder: Path, one: ModelInput) -> None:
    name = f"step_{one.step_number}"
    Image.fromarray(one.image).save(folder / f"{name}.png")
    request = {
        "step_number": one.step_number, "max_steps": 50, "text_prompt": one.text_prompt,
        "image_path": str(folder / f"{name}.png"),
    }  # fmt: skip
    (folder / f".{name}").write_text(json.dumps(request))
    (folder / f".{name}").rename(folder / f"{name}.json")


@pytest.mark.parametrize(
    "mission",
    ["Retrieve the red key " * 60, "é" * 300, "😀" * 99, None],
    ids=["long", "accents", "emoji", "none"],
)
def test_any_sentence_and_pil_pictures_are_read(agent, mission):
    played = MultiNetV2Agent(agent)
    image = Image.fromarray(frames(CORRIDOR, 1)[0].image).convert("RGBA")
    assert played.predict(ModelInput(image, mission, 1)).action in range(7)
    with pytest.raises(ValueError, match="the request has no picture"):
        played.predict(ModelInput(None, "", 1))


def test_all_files_are_read_before_one_is_played(agent, tmp_path):
    task = json.loads(CORRIDOR.read_text())
    task["maze"]["dimensions"] = [40, 6]
    (tmp_path / "big.json").write_text(json.dumps(task))
    with pytest.raises(ValueError, match="agents see 20 x 12"):
        next(play_files(MultiNetV2Agent(agent), [CORRIDOR, tmp_path / "big.json"]))


HARNESS = """
import json, pathlib, types
import numpy as np
from model_interface import ModelInterface, ModelOutput

class Results:
    def __init__(self, actions): self.actions = actions
    def save(self, path): pathlib.Path(path).write_text(json.dumps(self.actions))

class EvaluationHarness:
    def __init__(self, model):
        assert isinstance(model, ModelInterface)
        self.model = model
    def evaluate_task_dir(self, folder):
        actions = []
        for path in sorted(pathlib.Path(folder).glob("*.json")):
            width, height = json.loads(path.read_text())["maze"]["dimensions"]
            for step in (1, 2):
                image = np.zeros((32 * height, 32 * width, 3), np.uint8)
                image[32:64, 32:64] = (255, 0, 0)
                answer = self.model.predict(types.SimpleNamespace(
                    image=image, text_prompt="Reach the goal", step_number=step))
                assert isinstance(answer, ModelOutput)
                actions.append(answer.action)
        return Results(actions)
    def close(self): self.model.teardown()
"""
INTERFACE = """
from abc import ABC, abstractmethod
from dataclasses import dataclass

@dataclass
class ModelOutput:
    action: int
    confidence: float | None = None
    reasoning: str | None = None
    raw_output: str | None = None

class ModelInterface(ABC):
    @property
    @abstractmethod
    def model_name(self): ...
    @abstractmethod
    def predict(self, model_input): ...
    def setup(self, device): ...
    def teardown(self): ...
"""


def test_it_is_a_model_of_the_benchmarks_own_class_in_its_harness(agent, tmp_path, monkeypatch):
    (tmp_path / "evaluation_harness.py").write_text(HARNESS)
    (tmp_path / "model_interface.py").write_text(INTERFACE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = tmp_path / "results.json"
    run_harness(harness_agent(tmp_path, agent), tmp_path, TIERS, out)
    assert len(json.loads(out.read_text())) == 32
    with pytest.raises(ValueError, match=r"no checkout of MultiNet-v2.0: there is no"):
        harness_agent(tmp_path / "elsewhere", agent)


def test_commands_play_files_and_film_one(agent, tmp_path, capsys):
    run = tmp_path / "run"
    agent.save_pretrained(run)
    main(["multinet-v2", str(run), str(CORRIDOR)])
    assert "of 1 reached" in capsys.readouterr().out
    [kept] = json.loads((run / "multinet_v2.json").read_text())
    assert kept["shortest"] == 27
    main(["play", f"maze:{ROOMS}", "--agent", str(run), "--out", str(tmp_path / "film.gif")])
    assert (tmp_path / "film.gif").stat().st_size > 1000
    assert maze_file(ROOMS).max_episode_steps == 100
