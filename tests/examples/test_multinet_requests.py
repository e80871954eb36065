"""What MultiNet asks: any picture, any length of text, and clear words about the rest."""

import numpy as np
import pytest
from PIL import Image

from examples.multinet.adapter import MultiNetAdapter
from examples.multinet.posing import cut
from mugato.data.formats.multinet.answers import extract_calls
from mugato.data.formats.multinet.requests import read_request
from tests.agents import tiny_tokenizer
from tests.examples.test_multinet import PIQA, asked, check, make_adapter, picture


def test_numbered_solutions_are_read_from_the_question():
    request = read_request({"options": [0, 1]}, PIQA, "piqa")
    assert request.options == ("go to the red key", "go to the ball")
    readme = "Goal: x\nChoose the better solution:\n0. first one\n1. second one"
    assert read_request({"options": [0, 1]}, readme, "piqa").options == ("first one", "second one")
    assert read_request({"options": [0, 1]}, "Which?", "piqa").options == ("0", "1")


def test_a_conversation_joins_the_text():
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ls()"}]
    request = read_request({"text_observation": "tools"}, "go on", "bfcl", messages)
    assert request.text == "tools\nuser: hi\nassistant: ls()\ngo on"
    given = make_adapter().predict_action({}, "go on", "bfcl", history=messages)
    check(given, "bfcl")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "image",
    [
        picture(height=300, width=700),
        picture(height=1, width=200),
        picture()[:, :, 0],
        picture()[:, :, :1],
        np.concatenate([picture(), picture()[:, :, :1]], axis=2),
        Image.fromarray(picture()).convert("RGBA"),
        Image.fromarray(picture()).convert("P"),
    ],
)
def test_pictures_of_any_size_and_mode_are_seen(image):
    given = make_adapter().predict_action({"image": image}, "What is it?", "sqa3d")
    check(given, "sqa3d")


def test_one_option_is_chosen():
    given = make_adapter().predict_action({"choices": ["only"]}, "Which?", "piqa")
    assert given == {"raw_output": "only", "extracted_outputs": 0}


def test_texts_and_options_of_any_length_fit():
    long = "pick the ball \U0001f680 " * 2000
    given = make_adapter().predict_action({"options": [long, ""]}, long, "piqa")
    check(given, "piqa", num_options=2)


@pytest.mark.parametrize("text", ["", "go to the ball", "\U0001f680\U0001f680", "a\u2581 b"])
def test_a_cut_text_is_an_end_and_fits(text):
    tokenizer = tiny_tokenizer().text
    for num_tokens in range(12):
        kept = cut(tokenizer, text, num_tokens)
        assert len(tokenizer.encode(kept)) <= num_tokens
        assert text.endswith(kept.lstrip("\ufffd"))
    assert cut(tokenizer, text, 100) == text


HOSTILE = [
    ("odinw", {"image_observation": None}, "odinw: no 'image' in the observation"),
    ("odinw", {"options": []}, "odinw: 'options' must list at least one option"),
    ("odinw", {"options": None}, "odinw: 'options' must list at least one option, got None"),
    ("odinw", {"options": "ab"}, "odinw: 'options' must list at least one option, got 'ab'"),
    ("overcooked_ai", {"options": {1: "a"}}, "'options' must be numbered from 0"),
    ("overcooked_ai", {"options": list(range(37))}, "37 'options', but there are 36 joint"),
    ("sqa3d", {"image_observation": np.zeros((4, 4, 3))}, "got float64 of shape"),
    ("sqa3d", {"image_observation": np.zeros((0, 4, 3), np.uint8)}, "got uint8 of shape"),
    ("sqa3d", {"image_observation": np.zeros((4, 4, 7), np.uint8)}, "got uint8 of shape"),
    ("sqa3d", {"image_observation": "a.png"}, "'image' must be a PIL image"),
    ("sqa3d", {"text": 3}, "sqa3d: 'text' must be text, or lists of it, got 3"),
    ("robot_vqa", {"question": 3}, "robot_vqa: 'question' must be text, or lists"),
    ("robot_vqa", {"state": [1.0, np.nan]}, "robot_vqa: 'state' must be finite"),
    ("robot_vqa", {"state": ["a"]}, "robot_vqa: 'state' must be numbers"),
    ("robot_vqa", {"state": []}, "robot_vqa: 'state' is empty"),
    ("robot_vqa", {"state": np.zeros(500)}, "picture and state take .* tokens, there is room"),
    ("openx_bimanual", {"action_stats": None}, "'action_stats' must hold 'min' and 'max'"),
    ("openx_bimanual", {"action_stats": {"min": [0]}}, "'action_stats' must hold 'min' and 'max'"),
    ("openx_bimanual", {"action_stats": {"min": [0], "max": [np.inf]}}, "must be finite"),
    ("openx_bimanual", {"action_stats": {"min": [1], "max": [0]}}, "must bound each dimension"),
    ("openx_bimanual", {"action_stats": {"min": [], "max": []}}, "must bound each dimension"),
    ("openx_bimanual", {"action_stats": {"min": [0], "max": [1, 2]}}, "must bound each dimension"),
]


@pytest.mark.parametrize(("dataset", "changes", "message"), HOSTILE)
def test_a_malformed_observation_is_named(dataset, changes, message):
    observation, instruction = asked(dataset)
    with pytest.raises(ValueError, match=message):
        make_adapter().predict_action({**observation, **changes}, instruction, dataset)


def test_errors_say_which_row_and_which_data_sets():
    adapter = make_adapter()
    good, question = asked("sqa3d")
    with pytest.raises(ValueError, match="observation 1 of the batch: sqa3d: no 'image'"):
        adapter.batch_predict_actions([good, {}], [question] * 2, "sqa3d")
    with pytest.raises(ValueError, match=r"unknown data set 'procgen'; supported are \['bfcl'"):
        adapter.predict_action(good, question, "procgen")
    with pytest.raises(ValueError, match="unknown data set None"):
        adapter.predict_action(good, question)
    with pytest.raises(ValueError, match="2 observations, but 1 instructions and 2 histories"):
        adapter.batch_predict_actions([good, good], [question], "sqa3d")
    with pytest.raises(ValueError, match="neither an instruction nor"):
        adapter.predict_action(good, " ", "sqa3d")
    with pytest.raises(ValueError, match="an observation is a dict, got NoneType"):
        adapter.predict_action(None, question, "sqa3d")
    with pytest.raises(ValueError, match="sqa3d: item 0 of the history must be"):
        adapter.predict_action(good, question, "sqa3d", history=["before"])
    with pytest.raises(ValueError, match=r"the history: .* are no actions of "):
        robot, aim = asked("openx_bimanual")
        adapter.predict_action(robot, aim, "openx_bimanual", history=[(robot, "left")])
    with pytest.raises(ValueError, match="the history: action 'action' is outside"):
        adapter.predict_action(robot, aim, "openx_bimanual", history=[(robot, [9, 9, 9])])
    with pytest.raises(ValueError, match="sqa3d: an earlier answer is no text: 3"):
        adapter.predict_action(good, question, "sqa3d", history=[(good, 3)])
    with pytest.raises(RuntimeError, match="call initialize"):
        MultiNetAdapter().predict_action(good, question, "sqa3d")
    assert adapter.batch_predict_actions([], [], "sqa3d") == []


def test_calls_are_found_in_any_text():
    text = "cd(folder='a (b)'); then\nnotes.write(path=\"x\", lines=[1, 2]) and f((1)) or g('"
    write = 'notes.write(path="x", lines=[1, 2])'
    assert extract_calls(text) == ["cd(folder='a (b)')", write, "f((1))"]
    assert extract_calls("f(" * 5000) == []
