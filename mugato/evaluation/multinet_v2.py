"""The agent in MultiNet v2.0's mazes: in its harness, through its files, or on task files alone.

An agent sees the picture and the sentence that the benchmark shows, nothing else: neither the task
nor the state of the grid, which a request carries too.
"""

import random
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Agent
from mugato.system.files import locked, write_text_whole
from mugato.system.typed_json import read_json
from mugato.tasks.envs.maze_files import read_maze
from mugato.tasks.envs.mazes import RENDER_PX, Mazes, look, picture, readable, seen
from mugato.tasks.experts.mazes import solve

WIDEST_FIRST = ("all", "chains", "keys", "switches", "teleporters", "corridors", "empty")
STEP = re.compile(r"step_\d+\.json")
POLL_S, SETTLE_S = 0.02, 2.0  # a request that cannot be read may still be written for so long


def maze_task(agent: Agent) -> str:
    """Return the task that an agent learned mazes by: the widest of them.

    Raises:
        ValueError: it never saw a maze.
    """
    known = [f"mazes-{level}" for level in WIDEST_FIRST if f"mazes-{level}" in agent.tasks]
    if not known:
        raise ValueError(
            "the agent was trained on no mazes: train one with `mugato train --preset mazes`"
        )
    return known[0]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the benchmark reads of an answer."""

    action: int
    confidence: float | None = None
    reasoning: str | None = None
    raw_output: str | None = None


class MultiNetV2Agent:
    """An agent behind the benchmark's model interface; it is ready once it is made.

    An episode begins where `step_number` is 1. Requests are read as `image` and `text_prompt`.

    >>> agent = MultiNetV2Agent("runs/mazes")  # doctest: +SKIP
    >>> agent.predict(model_input).action  # doctest: +SKIP
    2
    """

    def __init__(
        self,
        agent: Agent | str | Path = "runs/mazes",
        *,
        task: str | None = None,
        inference: InferenceConfig = InferenceConfig(),
    ) -> None:
        """Load the agent.

        Args:
            agent: a run's folder, the name of an agent that comes with the package, or an agent.
            task: by whose spec it acts; the widest of the mazes that it was trained on.

        Raises:
            ValueError: there is no agent, or it never saw a maze.
        """
        if not isinstance(agent, Agent):
            agent = Agent.from_pretrained(agent, device=inference.device)
        self.agent, self.inference = agent, inference
        self.task = task or maze_task(agent)
        self._rows: BatchPolicy | None = None

    @property
    def model_name(self) -> str:
        """The name that results are filed under."""
        return "mugato"

    def setup(self, device: str = "cpu") -> None:
        """Do nothing: the benchmark's harness never calls this."""

    def teardown(self) -> None:
        """Forget the episode."""
        self._rows = None

    def predict(self, model_input: Any) -> Any:
        """Answer a request.

        Returns:
            An `Answer`, with an action from 0 to 6.

        Raises:
            ValueError: a picture that shows no maze.
        """
        return self.predict_batch([model_input])[0]

    def predict_batch(self, model_inputs: Sequence[Any]) -> list[Any]:
        """Answer requests of several episodes, always in the same order.

        Raises:
            ValueError: as `predict`, or an episode among them that did not begin here.
        """
        begins = np.array([one.step_number == 1 for one in model_inputs])
        if self._rows is None or self._rows.num_rows != len(begins):
            if not begins.all():
                raise ValueError("an episode begins with step_number 1, and keeps its place")
            self._rows = BatchPolicy(
                self.agent, task=self.task, num_rows=len(begins), inference=self.inference
            )
        self._rows.reset(begins)
        for row in np.flatnonzero(begins):  # an episode depends on nothing that was played before
            self._rows.seed_row(int(row), int(self.inference.seed))
        observations = [
            {**look(seen(_pixels(one.image))), "mission": readable(one.text_prompt or "")}
            for one in model_inputs
        ]
        return [
            self.answer(int(action["move"])) for action in self._rows.select_actions(observations)
        ]

    def answer(self, action: int) -> Any:
        """Make what is handed back; the harness's own type where there is a harness."""
        return Answer(action=action, raw_output=str(action))


def _pixels(image: Any) -> np.ndarray:
    """Return a picture's pixels, PIL's too."""
    if image is None:
        raise ValueError("the request has no picture; agents see nothing else of a maze")
    return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)


def harness_agent(repo: Path, *arguments: Any, **options: Any) -> Any:
    """Make the agent as a model of the benchmark's own class, from a checkout of its repository.

    Raises:
        ValueError: the folder is no such checkout.
    """
    interface: Any = _module(repo, "model_interface")
    if missing := [
        name for name in ("ModelInterface", "ModelOutput") if not hasattr(interface, name)
    ]:
        raise ValueError(f"{interface.__file__} has no {missing[0]}, which v2.0 has")

    class Mugato(MultiNetV2Agent, interface.ModelInterface):
        def answer(self, action: int) -> Any:
            return interface.ModelOutput(action=action, raw_output=str(action))

    return Mugato(*arguments, **options)


def run_harness(model: Any, repo: Path, tasks: Path, out: Path) -> Any:
    """Let the benchmark's own harness play the tasks in a folder, and write its own result file.

    Raises:
        ValueError: the folder is no checkout.
    """
    harness = _module(repo, "evaluation_harness").EvaluationHarness(model)
    try:
        results = harness.evaluate_task_dir(str(tasks))
        results.save(str(out))
    finally:
        harness.close()
    return results


def _module(repo: Path, name: str) -> Any:
    if not (repo / f"{name}.py").exists():
        raise ValueError(f"{repo} is no checkout of MultiNet-v2.0: there is no {name}.py in it")
    if str(repo.resolve()) not in sys.path:
        sys.path.insert(0, str(repo.resolve()))
    return import_module(name)


@dataclass(frozen=True, kw_only=True)
class _Request:
    image: UInt8[np.ndarray, "height width 3"]
    text_prompt: str
    step_number: int


def serve_files(agent: MultiNetV2Agent, folder: Path, *, patience_s: float) -> Iterator[int]:
    """Answer the requests that the benchmark's `file_based` model writes into a folder.

    Of what lies there already only the last request is answered. Old answers are removed: the
    benchmark reads whatever it finds.

    Yields:
        The step of each request that was answered.

    Args:
        folder: its `--work-dir`; requests are in `input/`, answers in `output/`.
        patience_s: ends once nothing was asked for so long.

    Raises:
        ValueError: a request that cannot be read, or another agent at work in this folder.
    """
    asked, answers = folder / "input", folder / "output"
    with locked(answers):
        _remove_answers(answers)
        answered = dict(_new_requests(asked, {})[:-1])
        agent.teardown()
        begun, last = False, time.monotonic()
        while time.monotonic() - last < patience_s:
            for path, written in _new_requests(asked, answered):
                request = _read_request(path, written)
                if request is None:
                    continue
                _remove_answers(answers)
                # The first may be in the middle of an episode.
                posed, begun = request if begun else replace(request, step_number=1), True
                write_text_whole(
                    answers / path.name, f'{{"action": {agent.predict(posed).action}}}\n'
                )
                answered[path], last = written, time.monotonic()
                yield request.step_number
            time.sleep(POLL_S)


def _remove_answers(folder: Path) -> None:
    for old in folder.glob("step_*.json"):
        old.unlink()


def _new_requests(folder: Path, answered: Mapping[Path, int]) -> list[tuple[Path, int]]:
    """Return requests and when they were written, the oldest first; each task uses names again."""
    found = []
    for path in folder.glob("step_*.json"):
        with suppress(FileNotFoundError):  # whoever asked may tidy up
            written = path.stat().st_mtime_ns
            if STEP.fullmatch(path.name) and answered.get(path) != written:
                found.append((path, written))
    return sorted(found, key=lambda one: one[1])


def _read_request(path: Path, written: int) -> _Request | None:
    """Read a request; None where it may not be whole yet."""
    try:
        request = read_json(path)
        picture = Path(request["image_path"])
        picture = picture if picture.exists() else path.with_suffix(".png")
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        return _Request(
            image=pixels,
            text_prompt=str(request["text_prompt"]),
            step_number=int(request["step_number"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        if time.time_ns() - written < SETTLE_S * 1e9:
            return None
        raise ValueError(f"{path} is no request of MultiNet-v2.0: {error!r}") from None


@dataclass(frozen=True, kw_only=True)
class MazeResult:
    """How one maze went.

    Attributes:
        shortest: steps of a shortest way by the true rules; None where none was found.
    """

    name: str
    success: bool
    steps: int
    reward: float
    shortest: int | None


def play_files(agent: MultiNetV2Agent, paths: Sequence[Path]) -> Iterator[MazeResult]:
    """Play task files once each, in our own world, which does what the benchmark's does.

    Raises:
        ValueError: a file that holds no maze.
    """
    mazes = [read_maze(path) for path in paths]
    for maze, env in [(maze, Mazes(maze=maze, render_mode="rgb_array")) for maze in mazes]:
        reward, steps, ended = 0.0, 0, False
        env.reset(seed=0)
        while not ended:
            request = _Request(
                image=picture(*env.playing, RENDER_PX),
                text_prompt=maze.mission,
                step_number=steps + 1,
            )
            _, reward, terminated, truncated, _ = env.step(agent.predict(request).action)
            steps, ended = steps + 1, terminated or truncated
        way = solve(maze, maze.first_position, random.Random(0))
        yield MazeResult(
            name=maze.name,
            success=reward > 0,
            steps=steps,
            reward=reward,
            shortest=None if way is None else len(way),
        )
