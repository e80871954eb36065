"""A sequence model of the user's own: found by name, tried, saved, acting in another process."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mugato.acting.policy import Policy
from mugato.model.gato import Gato, build_sequence_model
from mugato.spec import spec_of
from tests.agents import tiny_agent, tiny_config
from tests.tokens.test_sequence import TOKENIZER

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "sequence_model.py"
BROKEN = """
from types import SimpleNamespace
import torch
from torch import nn
from examples.sequence_model import Memory, MinimalGatedUnit
from mugato.model.sequence_model import SequenceModel

class NotDerived(nn.Module): pass

class WithoutForward(SequenceModel):
    def init_state(self, batch_size, max_length): return None

class OtherArguments(MinimalGatedUnit):
    def __init__(self, config, depth): super().__init__(config)

class NothingToLearn(MinimalGatedUnit):
    def __init__(self, config):
        super().__init__(config)
        del self.gate, self.candidate

class TooNarrow(MinimalGatedUnit):
    def forward(self, x, positions, segments, state=None):
        y, state = super().forward(x, positions, segments, state)
        return y[..., :-1], state

class Forgetful(MinimalGatedUnit):
    def forward(self, x, positions, segments, state=None):
        return super().forward(x, positions, segments, state and self.init_state(len(x), 0))

class Clairvoyant(MinimalGatedUnit):
    def forward(self, x, positions, segments, state=None):
        y, state = super().forward(x, positions, segments, state)
        return y + x.mean(dim=1, keepdim=True), state

class BadState(MinimalGatedUnit):
    def init_state(self, batch_size, max_length):
        return SimpleNamespace(h=super().init_state(batch_size, max_length).h)

class Raises(MinimalGatedUnit):
    def forward(self, x, positions, segments, state=None): raise KeyError("no such gate")
"""
ACT = """
import json, sys
import numpy as np
from mugato import Policy
policy = Policy.from_pretrained("agent", task="walk")
print(json.dumps([policy.select_action(np.full(3, i / 10, np.float32)).tolist() for i in range(5)]))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder of a user's own modules, which is on nobody's path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_models.py").write_text(BROKEN)
    (tmp_path / "cannot_be_read.py").write_text("import torch\nwidth = undefined_name\n")
    (tmp_path / "users_model.py").write_text(EXAMPLE.read_text())
    yield tmp_path
    for name in ("broken_models", "cannot_be_read", "users_model"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere_at_all:Model", "cannot import 'nowhere_at_all'"),
        ("cannot_be_read:Model", r"cannot import .*NameError.*undefined_name.*cannot_be_read.py:2"),
        ("broken_models:Absent", "'broken_models' has no 'Absent'"),
        ("broken_models:", "is written 'package.module:name'"),
        ("broken_models:NotDerived", "not a class derived from mugato.model.sequence_model"),
        ("broken_models:torch", "not a class derived from"),
        ("broken_models:WithoutForward", "has no forward"),
        ("broken_models:OtherArguments", "must be made with a config: .*'depth'"),
        ("broken_models:NothingToLearn", "has no parameters"),
        ("broken_models:TooNarrow", r"vectors of shape \(1, 4, 32\), not \(1, 4, 31\)"),
        ("broken_models:Forgetful", "other vectors token by token than in one pass"),
        ("broken_models:Clairvoyant", "other vectors token by token than in one pass"),
        ("broken_models:BadState", "gives a state without select, reset, copy_rows_from"),
        ("broken_models:Raises", "cannot be run .*KeyError: 'no such gate'.*broken_models.py"),
    ],
)
def test_what_is_not_a_sequence_model_is_refused(here, name, said):
    with pytest.raises(ValueError, match=said):
        build_sequence_model(tiny_config(TOKENIZER.vocab, sequence_model=name))


def test_it_acts_in_another_process_as_it_does_here(here):
    spec = spec_of(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)))
    agent = tiny_agent({"walk": spec}, sequence_model="users_model:MinimalGatedUnit")
    agent.save_pretrained("agent")
    policy = Policy.from_pretrained("agent", task="walk")
    here_done = [policy.select_action(np.full(3, i / 10, np.float32)).tolist() for i in range(5)]
    ran = subprocess.run(
        [sys.executable, "-c", ACT], cwd=here, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == here_done
    (here / "users_model.py").rename(here / "elsewhere.py")
    sys.modules.pop("users_model")
    with pytest.raises(ValueError, match="cannot import 'users_model'"):
        Policy.from_pretrained("agent", task="walk")


def test_its_weights_are_those_of_the_same_seed_whether_tried_or_not(here):
    config = tiny_config(TOKENIZER.vocab, sequence_model="users_model:MinimalGatedUnit")
    torch.manual_seed(0)
    model, drawn = Gato(config), torch.rand(1)
    torch.manual_seed(0)
    again = Gato(config)
    assert torch.equal(drawn, torch.rand(1))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.device("meta"):  # as an estimate makes it
        assert next(Gato(config).sequence_model.parameters()).is_meta
