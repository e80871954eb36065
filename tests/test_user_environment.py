"""A user's own environment, with arguments and a wrapper, from recording to a score."""

import sys
from pathlib import Path

import pytest

from mugato.cli import main as cli
from tests.tasks.conftest import minari_folder as minari_folder

FAST = [
    "--steps", "3", "--batch-rows", "2", "--microbatches", "1", "--processes", "1", "--no-tune",
    "--model.width", "32", "--model.num-layers", "1", "--model.num-heads", "1",
    "--model.head-size", "32", "--model.context-length", "64",
]  # fmt: skip
LINE = '''
import gymnasium
import numpy as np
from gymnasium import spaces


class Line(gymnasium.Env):
    """Walk to the middle of a line of `size`; positions lie around `offset`."""

    action_space = spaces.Discrete(3)

    def __init__(self, size=9, offset=0.0, render_mode=None):
        self.size, self.offset = size, offset
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.left = int(self.np_random.integers(self.size)), 5
        return self._seen(), {}

    def step(self, action):
        self.place, self.left = self.place + int(action) - 1, self.left - 1
        return self._seen(), float(self.place == self.size // 2), self.left == 0, False, {}

    def _seen(self):
        return np.array([self.place + self.offset])


class Twice(gymnasium.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Dict(a=env.observation_space, b=env.observation_space)

    def observation(self, observation):
        return {"a": observation, "b": observation}


def expert(observation):
    seen = observation["a"] if isinstance(observation, dict) else observation
    return int(np.sign(4 - seen[0] % 1000)) + 1


if "Line-v0" not in gymnasium.registry:
    gymnasium.register("Line-v0", "line:Line")
'''


@pytest.fixture(autouse=True)
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minari_folder: Path):
    (tmp_path / "line.py").write_text(LINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("line", None)


def mugato(line: str, *more: str) -> None:
    cli.main([*line.split(), *more])


def refused(capsys: pytest.CaptureFixture, line: str, *more: str) -> str:
    with pytest.raises(SystemExit) as ended:
        mugato(line, *more)
    assert ended.value.code == 1
    return capsys.readouterr().err


RECORD = "record --env line:Line-v0 --expert line:expert --workers 1 --episodes 4 --dataset mine"
TRAIN = "train --env line:Line-v0 --demonstrations mine --run run"


@pytest.mark.thorough
def test_arguments_and_wrappers_go_all_the_way(capsys):
    made = "--env-kwargs offset=1000000 size=9 --wrapper line:Twice"
    mugato(f"{RECORD} {made}")
    assert "100.0% of its values lie beyond" in capsys.readouterr().out
    mugato(f"{TRAIN} {made} --fit-scale line:Line-v0", *FAST)
    assert "Warning" not in capsys.readouterr().out
    mugato("evaluate run --episodes 2 --workers 1 --no-videos --greedy")
    assert "line:Line-v0" in capsys.readouterr().out
    assert '"temperature": 0.0' in Path("run/report.json").read_text()
    assert "no tasks are named" in refused(capsys, "evaluate run --tasks")


def test_train_looks_at_the_environment_first(capsys):
    mugato(RECORD)
    capsys.readouterr()
    wrong = refused(capsys, f"{TRAIN} --wrapper line:Twice", *FAST)
    assert "does not fit the demonstrations of 'line:Line-v0'" in wrong
    assert "> observation a: continuous" in wrong
    assert "no Gymnasium environment 'Lime-v0'" in refused(
        capsys, TRAIN.replace("line:Line-v0", "Lime-v0"), *FAST
    )
    assert "cannot be made with (sise=3)" in refused(capsys, f"{TRAIN} --env-kwargs sise=3", *FAST)
    assert not Path("run").exists()
