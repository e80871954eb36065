"""MultiNet's requests and answers: its harness's true forms (v1.0, scripts/eval_harness)."""

import time

import numpy as np
import pytest

from mugato.data.formats.multinet.answers import (
    calls_or_name,
    extract_calls,
    join_calls,
    normalize_answer,
)
from mugato.data.formats.multinet.requests import read_request

PICTURE = np.zeros((4, 4, 3), np.uint8)
STATS = {"min": [-1.0], "max": [1.0]}


@pytest.mark.parametrize(
    "instruction",
    ["Navigate home.", ["Navigate home."], [["Navigate home."]], (["Navigate", [["home."]]],)],
)
def test_instructions_in_lists_within_lists_are_joined(instruction):
    observation = {"text_observation": "robot", "action_stats": STATS, "image": PICTURE}
    said = read_request(observation, instruction, "openx_wheeled_robot").text
    assert said.split() == ["robot", "Navigate", "home."]
    assert read_request(observation, None, "openx_wheeled_robot").text == "robot"


@pytest.mark.parametrize("instruction", [3, ["go", 3], {"a": "go"}])
def test_what_is_no_text_is_named(instruction):
    with pytest.raises(ValueError, match="sqa3d: instruction must be text, or lists of it, got"):
        read_request({"image": PICTURE}, instruction, "sqa3d")


def test_the_table_of_what_actions_mean_is_left_out_and_the_time_is_kept():
    meanings = {"NORTH": {"coordinate": "(0, -1)", "description": "Move up. " * 99}}
    observation = {"text_observation": meanings, "image_observation": PICTURE}
    text = "Layout: box\nTime left: 1.0s\nTime elapsed: 59.0s"
    assert read_request(observation, text, "overcooked_ai").text == text


CALLS = [
    "move(pos=(1, 2))",
    r"f(x='it\'s')",
    "f(x=\"it's\", y='\"')",
    "cp(source='a  b.txt',destination='c')",
    "post(content='(a) b)', tags=['#x'], at={'a': [1, (2,)]})",
    "lib.tools.run(a=f(g(1)), b=-1.5, c=None)",
    "echo(content='a\\nb  c')",
    "write(text='''two\n  lines''')",
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_survive_as_python_reads_them(call):
    assert extract_calls(call) == [call]
    assert extract_calls(f"I'd say: {call}, then {call}.") == [call, call]


def test_calls_joined_are_taken_apart_again():
    assert extract_calls(join_calls(CALLS)) == CALLS


def test_a_call_over_several_lines_is_one():
    assert extract_calls("f(\n    a=1,\n    b='x  y',\n)") == ["f( a=1, b='x  y', )"]


@pytest.mark.parametrize("text", ["", "  ", "f(", "f(a b)", "f)(", "\U0001f680", "3(x)", "f('"])
def test_there_is_always_a_call(text):
    calls = calls_or_name(text)
    assert len(calls) == 1 and extract_calls(calls[0]) == calls


def test_texts_of_nothing_but_brackets_are_read_quickly():
    start = time.monotonic()
    for text in ("f(" * 5000, "f('" * 5000, "f([{" * 5000, "f(''" * 5000):
        extract_calls(text)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("solutions", "closing"),
    [
        (("", "go"), True),
        (("go", ""), True),
        (("1. mix\n2. bake", "0. stir\n1. wait"), True),
        (("Solution: none", "Which is it?"), True),
    ],
)
def test_solutions_are_read_whatever_they_hold(solutions, closing):
    asked = (
        f"Goal: bake\nSolution 1: {solutions[0]}\nSolution 2: {solutions[1]}\n"
        "Which solution is better for the given goal?"
    )
    assert read_request({"options": [0, 1]}, asked, "piqa").options == solutions


def test_bounds_stand_in_the_order_in_which_actions_are_compared():
    def bounds(dataset, count):
        stats = {"min": np.arange(count), "max": np.arange(count) + 10.0}
        observation = {"image": PICTURE, "action_stats": stats}
        request = read_request(observation, None, dataset)
        return request.low, request.high

    bridge = (4, 5, 6, 0, 1, 2, 0)
    assert bounds("openx_single_arm", 7) == (bridge, (14, 15, 16, 10, 11, 12, 1))
    assert bounds("openx_mobile_manipulation", 10)[0] == (7, 8, 9, 4, 5, 6, 0)
    for dataset, count in (("openx_bimanual", 14), ("openx_mobile_manipulation", 7)):
        assert bounds(dataset, count)[0] == tuple(range(count))


def test_bounds_too_far_apart_are_named():
    observation = {"image": PICTURE, "action_stats": {"min": [-1e308], "max": [1e308]}}
    with pytest.raises(ValueError, match="action_stats must bound each dimension"):
        read_request(observation, None, "openx_bimanual")


def test_answers_are_normalized_as_the_scorer_does_and_never_empty():
    assert normalize_answer("To the LEFT,  2!") == "to the left 2"
    assert normalize_answer("...") == normalize_answer(" ") == "unknown"
