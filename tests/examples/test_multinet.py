"""MultiNet's adapter: answers of the right form to all that its harness asks, whatever the weights.

The fixtures have the layout of the benchmark's v1.0 (its README and scripts/eval_harness).
"""

import importlib.util
import shutil
import sys
import types
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from examples.multinet.adapter import MultiNetAdapter, _with_option
from examples.multinet.posing import known_task, pose
from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.agent import Sampling
from mugato.data.formats.multinet.requests import DATASETS
from mugato.spec import TEXT_LEAF, Leaf, Spec, spec_of
from mugato.tokens.packing import pack
from tests.agents import tiny_agent

SUBMISSION = Path(__file__).parents[2] / "examples/multinet/submission"
STATS = {
    "min": np.array([-1.0, 0.0, 2.5], np.float32),
    "max": np.array([1.0, 0.1, 2.5], np.float32),
    "mean": np.zeros(3),
    "std": np.ones(3),
}
MEANINGS = {"NORTH": {"coordinate": "(0, -1)", "description": "Move up."}}
PIQA = "Goal: go to the key\nSolution 1: go to the red key\nSolution 2: go to the ball\nWhich one?"
ODINW = "What object is shown?\nOption 0: ball\nOption 1: key\nOption 2: box\nOutput the number."
PROMPT = 'Initial Environment Configuration:\n{"GorillaFileSystem": {"root": {}}}\n' * 30


def picture(seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def asked(dataset: str, seed: int = 0) -> tuple[dict, str | None]:
    """Return an observation and an instruction, as the harness makes them."""
    image = picture(seed)
    match DATASETS[dataset].answer:
        case "action":
            options = {i: f"Player 0: NORTH, Player 1: {i}" for i in range(36)}
            observation = {"text_observation": MEANINGS, "image_observation": image}
            return {**observation, "options": options}, f"Layout: box\nTime left: {seed}.0s"
        case "vector":
            observation = {"text_observation": "pick", "image_observation": image}
            return {**observation, "action_stats": STATS, "options": {0: ("x",)}}, f"go {seed}"
        case "calls":
            return {"text_observation": PROMPT}, f"Go into folder {seed}."
        case "text":
            return {"image_observation": image}, "What is on the table?"
    if dataset == "piqa":
        return {"options": [0, 1]}, PIQA + str(seed)
    observation = {"image_observation": Image.fromarray(image), "options": ["ball", "key", "box"]}
    return observation, ODINW


def make_adapter(
    specs: dict[str, Spec] | None = None, seed: int = 0, max_text_tokens: int = 24, **changes
) -> MultiNetAdapter:
    agent = tiny_agent(specs or {}, **{"context_length": 96, **changes})
    adapter = MultiNetAdapter()
    adapter.initialize(agent=agent, seed=seed, max_text_tokens=max_text_tokens)
    return adapter


def check(prediction: dict, dataset: str, num_options: int = 3) -> None:
    """Check the harness's own rules, and the ranges that its metrics count as valid."""
    assert set(prediction) == {"raw_output", "extracted_outputs"}
    assert type(prediction["raw_output"]) is str
    given = prediction["extracted_outputs"]
    match DATASETS[dataset].answer:
        case "action":
            assert type(given) is int and 0 <= given < 36
        case "choice":
            assert type(given) is int and 0 <= given < num_options
        case "text":
            assert type(given) is str
        case "calls":
            assert type(given) is list and all(type(call) is str for call in given)
        case "vector":
            assert isinstance(given, np.ndarray) and given.shape == STATS["min"].shape
            assert (STATS["min"] <= given).all() and (given <= STATS["max"]).all()


def assert_same(first: dict, second: dict) -> None:
    assert first["raw_output"] == second["raw_output"]
    np.testing.assert_array_equal(first["extracted_outputs"], second["extracted_outputs"])


@pytest.mark.thorough
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_answer_is_valid_whatever_the_weights(dataset):
    for seed in range(2):
        adapter = make_adapter(seed=seed)
        assert adapter._agent is not None
        with torch.no_grad():
            table = adapter._agent.model.embedding.table.weight
            table.add_(torch.randn(table.shape, generator=torch.Generator().manual_seed(seed)))
        observation, instruction = asked(dataset, seed)
        num_options = len(observation.get("options", ()))
        prediction = adapter.predict_action(observation, instruction, dataset)
        check(prediction, dataset, num_options)


@pytest.mark.thorough
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_batch_is_answered_as_each_alone_and_always_the_same(dataset):
    adapter = make_adapter()
    rows = [asked(dataset, seed) for seed in range(3)]
    observations, instructions = [row[0] for row in rows], [row[1] for row in rows]
    together = adapter.batch_predict_actions(observations, instructions, dataset)
    adapter.reset()
    for (observation, instruction), given in reversed(list(zip(rows, together, strict=True))):
        assert_same(adapter.predict_action(observation, instruction, dataset), given)
    other = make_adapter()
    assert_same(other.predict_action(*rows[1], dataset), together[1])


def test_the_seed_draws_vectors():
    rows, other = asked("openx_single_arm"), asked("openx_single_arm", 1)
    agent = tiny_agent({}, context_length=96)
    drawn = []
    for seed in (0, 0, 1):
        adapter = MultiNetAdapter()
        adapter.initialize(agent=agent, seed=seed, vectors=Sampling())
        drawn.append(adapter.predict_action(*rows, "openx_single_arm"))
    assert_same(drawn[0], drawn[1])
    assert drawn[0]["raw_output"] != drawn[2]["raw_output"]
    # The same random numbers for every request would bias every dimension the same way.
    again = adapter.batch_predict_actions(
        [rows[0], other[0]], [rows[1], other[1]], "openx_bimanual"
    )
    assert again[0]["raw_output"] != again[1]["raw_output"]


def test_vectors_are_the_median_unless_a_sample_is_asked_for():
    rows, agent = asked("openx_single_arm"), tiny_agent({}, context_length=96)
    given = make_adapter(seed=0).predict_action(*rows, "openx_single_arm")
    assert_same(make_adapter(seed=1).predict_action(*rows, "openx_single_arm"), given)
    posed = pose(agent, "openx_single_arm", *rows, None)
    policy = BatchPolicy(
        posed.agent, task="openx_single_arm", num_rows=1,
        inference=InferenceConfig(sampling=Sampling(continuous="median"), precision="fp32"),
    )  # fmt: skip
    (median,) = policy.select_actions([posed.current])
    np.testing.assert_array_equal(given["extracted_outputs"], np.clip(median, -1, 2.5))


def rigged(piece: int) -> MultiNetAdapter:
    """Make an adapter whose agent finds one text id likelier than all others, always."""
    adapter = make_adapter(context_length=128)
    assert adapter._agent is not None
    head = adapter._agent.model
    table = head.embedding.table.weight
    with torch.no_grad():
        table.zero_()
    plain = head.logits

    def logits(hidden, ids):
        given = plain(hidden, ids)
        given[..., piece - ids.start if piece in ids else 0] += 9
        return given

    head.logits = logits  # type: ignore[method-assign]
    return adapter


@pytest.mark.parametrize("dataset", ["sqa3d", "robot_vqa", "bfcl"])
def test_no_text_answer_is_empty(dataset):
    end = tiny_agent({}).tokenizer.text.end_of_text
    adapter = rigged(end)
    given = adapter.predict_action(*asked(dataset), dataset)
    assert given["extracted_outputs"]
    assert given["raw_output"] or dataset != "bfcl"


def test_a_text_that_is_cut_is_told_of_and_the_limit_can_be_raised(caplog):
    letter = int(tiny_agent({}).tokenizer.text.encode("o")[-1])
    adapter = rigged(letter)
    observation, instruction = asked("bfcl")
    adapter.predict_action(observation, instruction, "bfcl")
    assert "bfcl: the text of row 0 is cut at 24 tokens" in caplog.text
    assert adapter._agent is not None
    adapter.initialize(agent=adapter._agent)
    assert len(adapter.predict_action(observation, instruction, "bfcl")["raw_output"]) == 256
    adapter.initialize(agent=adapter._agent, max_text_tokens=5)
    given = adapter.predict_action(observation, instruction, "bfcl")
    assert given["raw_output"] == "o" * 5 and "cut at 5 tokens" in caplog.text
    with pytest.raises(ValueError, match="max_text_tokens must be at least 1, got 0"):
        adapter.initialize(agent=adapter._agent, max_text_tokens=0)


def test_a_robot_without_a_picture_is_answered():
    observation, instruction = asked("openx_quadrupedal")
    observation["image_observation"] = None
    check(
        make_adapter().predict_action(observation, instruction, "openx_quadrupedal"),
        "openx_quadrupedal",
    )
    box = spaces.Dict(image=spaces.Box(0, 255, (32, 32, 3), np.uint8), text=spaces.Text(9))
    adapter = make_adapter({"openx_quadrupedal": spec_of(box, spaces.Box(-9, 9, (3,)))})
    check(
        adapter.predict_action(observation, instruction, "openx_quadrupedal"), "openx_quadrupedal"
    )


def test_the_tasks_that_answer_are_found_by_map_by_name_and_by_source():
    text = Spec(observation={"question": TEXT_LEAF}, action={"action": TEXT_LEAF})
    names = ("lerobot:bridge", "multinet:/data/bfcl_v3?max_characters=9", "piqa?size_px=8")
    agent = tiny_agent(dict.fromkeys(names, text))
    assert known_task(agent, "openx_single_arm", {"openx_single_arm": "lerobot:bridge"}) == names[0]
    assert known_task(agent, "bfcl", {}) == names[1]
    assert known_task(agent, "piqa", {}) == names[2]
    assert known_task(agent, "sqa3d", {}) is None
    posed = pose(agent, "bfcl", {"text_observation": "what is said"}, "go to the ball", ())
    assert posed.current == {"question": "the ball"}
    with pytest.raises(
        ValueError, match="sqa3d: the agent knows no task 'lerobot:brigde'; did you"
    ):
        known_task(agent, "sqa3d", {"sqa3d": "lerobot:brigde"})


def test_the_keys_of_the_documentation_mean_the_same():
    adapter = make_adapter()
    observation, question = asked("odinw")
    short = {"image": picture(), "choices": ("ball", "key", "box"), "question": question}
    assert_same(
        adapter.predict_action(short, dataset_name="odinw"),
        adapter.predict_action(observation, question, "odinw"),
    )


def test_an_option_wins_if_its_tokens_are_likeliest_on_average():
    adapter, options = make_adapter(), ("ball", "go to the red key")
    agent, by_mean, by_sum = adapter._agent, [], []
    assert agent is not None
    for seed in range(6):
        observation = {"image": picture(seed), "options": options}
        scores = []
        for option in options:
            tokens = _with_option(pose(agent, "odinw", observation, "Which?", ()), option)
            places = np.flatnonzero(tokens.loss_mask)
            ids = tokens.targets[places]
            hidden = agent.model.hidden(pack([tokens], length=len(tokens)).inputs)[0][0][places]
            logits = agent.model.logits(hidden, range(agent.tokenizer.vocab.size)).detach()
            chosen = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.from_numpy(ids)]
            scores.append((float(chosen.mean()), float(chosen.sum())))
        by_mean.append(int(np.argmax([mean for mean, _ in scores])))
        by_sum.append(int(np.argmax([whole for _, whole in scores])))
        given = adapter.predict_action(observation, "Which?", "odinw")
        assert given == {"raw_output": options[by_mean[-1]], "extracted_outputs": by_mean[-1]}
    assert by_mean != by_sum


def test_of_an_option_only_its_own_tokens_count_and_the_oldest_past_makes_room():
    agent = tiny_agent({}, context_length=96)
    observation, instruction = asked("odinw")
    long = "Which is it? " + "go to the red key " * 4
    posed = pose(agent, "odinw", observation, instruction, [(observation, n % 3) for n in range(9)])
    assert posed.past is not None and len(posed.past) == 9
    tokens = _with_option(posed, "box")
    assert agent.tokenizer.text.decode(tokens.targets[tokens.loss_mask][:-1]) == "box"
    small = {"choices": ["a", "b"]}
    posed = pose(agent, "piqa", small, long, [(small, 0)] * 3)
    tokens = _with_option(posed, "b")
    assert len(tokens) <= 96 and tokens.ids[-1] == agent.tokenizer.text.end_of_text
    assert agent.tokenizer.text.decode(tokens.targets[tokens.loss_mask][:-1]) == "b"


@pytest.mark.thorough
@pytest.mark.parametrize("dataset", DATASETS)
def test_history_of_timesteps_is_seen(dataset):
    adapter = make_adapter(context_length=256)
    observation, instruction = asked(dataset, 1)
    first = adapter.predict_action(*asked(dataset, 0), dataset)
    pairs = [(asked(dataset, 0)[0], first), (asked(dataset, 2)[0], first["extracted_outputs"])]
    given = adapter.predict_action(observation, instruction, dataset, history=pairs)
    check(given, dataset)
    both = adapter.batch_predict_actions(
        [observation] * 2, [instruction] * 2, dataset, histories=[pairs, []]
    )
    assert_same(both[0], given)
    assert_same(both[1], adapter.predict_action(observation, instruction, dataset))


def test_history_changes_the_answer():
    adapter = make_adapter(context_length=256)
    observation, instruction = asked("openx_bimanual")
    action = STATS["max"].astype(float)
    without = adapter.predict_action(observation, instruction, "openx_bimanual")
    after = adapter.predict_action(
        observation, instruction, "openx_bimanual", history=[(observation, action)] * 3
    )
    assert without["raw_output"] != after["raw_output"]


def test_a_task_that_the_agent_knows_is_used():
    image, state = spaces.Box(0, 255, (32, 32, 3), np.uint8), spaces.Box(-1, 1, (2,))
    known = spec_of(spaces.Dict(rgb=image, mission=spaces.Text(9)), spaces.Discrete(4))
    adapter = make_adapter({"overcooked_ai": known})
    observation, instruction = asked("overcooked_ai")
    actions = {
        adapter.predict_action(asked("overcooked_ai", seed)[0], str(seed), "overcooked_ai")[
            "extracted_outputs"
        ]
        for seed in range(5)
    }
    assert actions <= {0, 1, 2, 3}  # what it was trained to do

    wide = spec_of(spaces.Dict(image=image, state=state), spaces.Box(-9, 9, (3,)))
    adapter = make_adapter({"openx_bimanual": wide})
    observation, instruction = asked("openx_bimanual")
    given = adapter.predict_action({**observation, "state": [0, 1]}, "", "openx_bimanual")
    check(given, "openx_bimanual")
    with pytest.raises(ValueError, match="openx_bimanual: nothing in the observation is 'state'"):
        adapter.predict_action(observation, instruction, "openx_bimanual")
    with pytest.raises(ValueError, match="'state' has 3 numbers, 'state' of the agent's task 2"):
        adapter.predict_action({**observation, "state": [0, 1, 2]}, "", "openx_bimanual")


def test_a_known_task_that_cannot_answer_is_refused():
    known = spec_of(spaces.Text(9), spaces.Box(-1, 1, (5,)))
    adapter = make_adapter({"openx_bimanual": known, "piqa": known})
    for dataset in ("openx_bimanual", "piqa"):
        with pytest.raises(ValueError, match=f"{dataset}: the agent's own task of that name acts"):
            adapter.predict_action(*asked(dataset), dataset)


def test_a_known_task_chooses_by_number_and_forgets_as_it_was_taught():
    known = Spec(
        observation=Leaf(kind="text", dtype="str"),
        action=Leaf(kind="discrete", dtype="int64", low=(0.0,), high=(9.0,)),
    )
    adapter = make_adapter({"piqa": known}, history=2)
    observation, instruction = asked("piqa")
    given = adapter.predict_action(observation, instruction, "piqa")
    check(given, "piqa", num_options=2)
    two = adapter.predict_action(observation, instruction, "piqa", history=[(observation, 1)] * 2)
    assert_same(two, given)
    assert adapter._agent is not None
    posed = pose(adapter._agent, "piqa", observation, instruction, [(observation, 1)] * 3)
    assert posed.past is not None and len(posed.past) == 1


class ModelAdapter(ABC):
    """The methods of the benchmark's base class, which it looks for subclasses of."""

    def __init__(self):
        self._is_initialized = False

    @property
    @abstractmethod
    def supported_datasets(self) -> list[str]: ...

    @abstractmethod
    def initialize(self, **kwargs) -> None: ...

    def predict_action(self, observation, instruction=None, dataset_name=None, history=None):
        raise NotImplementedError

    def batch_predict_actions(
        self, observations, instructions=None, dataset_name=None, histories=None
    ):
        raise NotImplementedError


def test_the_submission_is_found_as_the_harness_looks_for_it(tmp_path, monkeypatch):
    tiny_agent({}).save_pretrained(tmp_path / "agent")
    module = Path(shutil.copy(SUBMISSION / "mugato_adapter.py", tmp_path))
    harness = types.ModuleType("src.eval_harness.model_adapter")
    monkeypatch.setattr(harness, "ModelAdapter", ModelAdapter, raising=False)
    for name in ("src", "src.eval_harness"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, harness.__name__, harness)
    spec = importlib.util.spec_from_file_location("user_adapter", module)
    assert spec is not None and spec.loader is not None
    user_module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(user_module)
    found = [
        kind
        for kind in vars(user_module).values()
        if isinstance(kind, type)
        and issubclass(kind, ModelAdapter)
        and kind is not ModelAdapter
        and not getattr(kind, "__abstractmethods__", frozenset())
    ]
    assert [kind.__name__ for kind in found] == ["MugatoAdapter"]
    adapter = found[0]()
    adapter.initialize(device="cpu", seed=42)
    assert "bfcl" in adapter.supported_datasets
    check(adapter.predict_action(*asked("sqa3d"), "sqa3d"), "sqa3d")


def test_the_submission_names_every_data_set_and_files_that_are_there():
    lines = (SUBMISSION / "harness_dataset_config.txt").read_text().splitlines()
    settings = dict(line.split("=") for line in lines if "=" in line)
    for dataset in DATASETS:
        assert (SUBMISSION / settings[f"{dataset}.adapter_module"]).exists()
        assert settings[f"{dataset}.batch_process"] == "true"
        assert int(settings[f"{dataset}.batch_size"]) > 0
    assert len(settings) == 2 + 3 * len(DATASETS) == 35
    assert "requirements.txt" in (SUBMISSION / "Dockerfile").read_text()


def test_what_a_harness_hands_to_every_model_is_warned_of():
    adapter = MultiNetAdapter()
    with pytest.warns(UserWarning, match=r"initialize does not know \['batch_size'\]"):
        adapter.initialize(agent=tiny_agent({}), batch_size=4)
