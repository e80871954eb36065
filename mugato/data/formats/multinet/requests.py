"""What MultiNet asks, checked: its data sets, its observations and its kinds of answer.

MultiNet (Manifold Research, v1.0) hands an adapter dictionaries (scripts/eval_harness/evaluate.py).
Here they become a `Request`, or a ValueError that names the data set, the key and what is wrong.
What is trained on goes the same way, so that an agent is asked as it was taught.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

NUM_JOINT_ACTIONS = 36

Answer = Literal["action", "choice", "text", "vector", "calls"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One of the benchmark's data sets: how it is answered, and what its observations must hold."""

    answer: Answer
    image: bool = True
    text: bool = True


# Robots' steps without a picture are handed on as they are; other data sets get a black one.
ROBOT = Dataset(answer="vector", image=False, text=False)
DATASETS: dict[str, Dataset] = {
    "overcooked_ai": Dataset(answer="action", text=False),
    "piqa": Dataset(answer="choice", image=False),
    "odinw": Dataset(answer="choice"),
    "sqa3d": Dataset(answer="text"),
    "robot_vqa": Dataset(answer="text"),
    "openx_single_arm": ROBOT,
    "openx_bimanual": ROBOT,
    "openx_wheeled_robot": ROBOT,
    "openx_quadrupedal": ROBOT,
    "openx_mobile_manipulation": ROBOT,
    "bfcl": Dataset(answer="calls", image=False),
}

# The harness writes the longer names, its documentation of the base class the shorter ones.
IMAGE_KEYS = ("image", "image_observation")
TEXT_KEYS = ("text", "text_observation")
STATE_KEYS = ("state", "continuous_observation")
OPTION_KEYS = ("options", "choices")

# How options are numbered in a text, and what may follow the last one.
NUMBERED = tuple((word, first) for word in ("solution", "option", "choice", "") for first in (0, 1))
CLOSING = re.compile(r"\n[ \t]*(?:which|output|choose|answer)\b[^\n]*\s*$", re.IGNORECASE)

# Two sets bound an action's floats by name, but compare world_vector, rotation_delta and gripper in
# this order (`_convert_action_dict_to_tensor`): where each number's bounds stand among so many.
BRIDGE, FRACTAL = (4, 5, 6, 0, 1, 2), (7, 8, 9, 4, 5, 6)
COMPARED = {("openx_single_arm", 7): BRIDGE, ("openx_mobile_manipulation", 10): FRACTAL}
GRIPPER = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question of the benchmark's.

    Attributes:
        dataset: its name in `DATASETS`.
        text: all that is said: what is known of the scene, the conversation so far and, last, the
            instruction or question.
        state: numbers that are observed.
        options: what an index means, in order; empty where the data set has no options.
        low, high: the least and greatest value of each dimension of a vector.
    """

    dataset: str
    text: str
    image: UInt8[np.ndarray, "height width 3"] | None = None
    state: Float[np.ndarray, " n"] | None = None
    options: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def answer(self) -> Answer:
        return DATASETS[self.dataset].answer


def read_request(
    observation: Any,
    instruction: Any,
    dataset: str | None,
    messages: Sequence[Mapping[str, Any]] = (),
    *,
    max_characters: int | None = None,
) -> Request:
    """Check one observation and what is said with it.

    Args:
        instruction: a text, or texts in lists within lists, which are joined.
        messages: the conversation so far: `{"role": "user", "content": "..."}`.
        max_characters: of the text only its end is kept, where what is asked stands.

    Raises:
        ValueError: an unknown data set; an observation that lacks something, or is malformed.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; supported are {sorted(DATASETS)}")
    if not isinstance(observation, Mapping):
        raise ValueError(f"{dataset}: an observation is a dict, got {type(observation).__name__}")
    wanted, image = DATASETS[dataset], _first(observation, IMAGE_KEYS)
    context = _context(dataset, _first(observation, TEXT_KEYS))
    asked = _joined(dataset, "'question'", observation.get("question"))
    question = _lines(_joined(dataset, "instruction", instruction), asked)
    if wanted.image and image is None:
        raise ValueError(f"{dataset}: no 'image' in the observation, only {sorted(observation)}")
    if wanted.text and not (question.strip() or context.strip()):
        raise ValueError(f"{dataset}: neither an instruction nor a 'question' or 'text'")
    low, high = _bounds(dataset, observation)
    return Request(
        dataset=dataset,
        text=ending(_lines(context, *map(_line, messages), question), max_characters),
        image=None if image is None else _image(dataset, image),
        state=_state(dataset, _first(observation, STATE_KEYS)),
        options=_options(dataset, _first(observation, OPTION_KEYS), question),
        low=low,
        high=high,
    )


def ending(text: str, max_characters: int | None) -> str:
    """Return the end of a text, from a whole word on.

    >>> ending("go to the red ball", 10), ending("go", 10), ending("a" * 20, 10)
    ('red ball', 'go', 'aaaaaaaaaa')
    """
    if max_characters is None or len(text) <= max_characters:
        return text
    kept = text[len(text) - max_characters :]
    whole = re.search(r"(?<=\s)\S", text[len(text) - max_characters - 1 :])
    return kept if whole is None else kept[whole.start() - 1 :]


def _first(observation: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((observation[key] for key in keys if observation.get(key) is not None), None)


def _line(message: Mapping[str, Any]) -> str:
    return f"{message['role']}: {message['content']}"


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _context(dataset: str, value: Any) -> str:
    """Return what is known beside the question; a table (what Overcooked's actions mean) is none.

    It is the same at every timestep, and as long as several contexts.
    """
    if isinstance(value, Mapping) and DATASETS[dataset].answer == "action":
        return ""
    return _joined(dataset, "'text'", value)


def _joined(dataset: str, what: str, value: Any) -> str:
    """Return a text as it is, texts in lists within lists on a line each."""
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case list() | tuple() | np.ndarray():
            return _lines(*(_joined(dataset, what, part) for part in value))
    raise ValueError(f"{dataset}: {what} must be text, or lists of it, got {value!r}")


def _image(dataset: str, value: Any) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(value, Image.Image):
        picture = value
    else:
        array = np.asarray(value)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
        if array.dtype != np.uint8 or not is_picture or not array.size:
            raise ValueError(
                f"{dataset}: 'image' must be a PIL image or uint8 pixels of shape (height, width, "
                f"3), got {array.dtype} of shape {array.shape}"
            )
        picture = Image.fromarray(array)
    if not min(picture.size):
        raise ValueError(f"{dataset}: 'image' has no pixels: {picture.size}")
    return np.asarray(picture.convert("RGB"))


def _state(dataset: str, value: Any) -> Float[np.ndarray, " n"] | None:
    if value is None:
        return None
    state = _numbers(f"{dataset}: 'state'", value)
    if not state.size:
        raise ValueError(f"{dataset}: 'state' is empty")
    return state


def _options(dataset: str, value: Any, said: str) -> tuple[str, ...]:
    """List what can be chosen; where numbers are given, as for PIQA, the instruction does."""
    answer = DATASETS[dataset].answer
    if answer not in ("action", "choice") or (answer == "action" and value is None):
        return ()
    if isinstance(value, Mapping):
        if set(value) != set(range(len(value))):
            raise ValueError(f"{dataset}: 'options' must be numbered from 0, got {list(value)}")
        value = [value[i] for i in range(len(value))]
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        raise ValueError(f"{dataset}: 'options' must list at least one option, got {value!r}")
    if answer == "action" and len(value) > NUM_JOINT_ACTIONS:
        raise ValueError(
            f"{dataset}: {len(value)} 'options', but there are {NUM_JOINT_ACTIONS} joint actions"
        )
    are_numbers = all(isinstance(option, int | np.integer) for option in value)
    listed = _listed(said, len(value)) if are_numbers else None
    return listed or tuple(str(option) for option in value)


def _listed(text: str, count: int) -> tuple[str, ...] | None:
    """Find so many numbered options in a text, each up to the next, the last up to a question.

    An option may be empty, or itself a list of numbered lines.

    >>> _listed("Goal: x\\nSolution 1: \\nSolution 2: 1. mix\\n2. bake\\nWhich is better?", 2)
    ('', '1. mix\\n2. bake')
    """
    for word, first in NUMBERED:
        marks, start = [], 0
        for number in range(first, first + count):
            pattern = rf"^[ \t]*{word}[ \t]*{number}[ \t]*[.:)]"
            mark = re.compile(pattern, re.IGNORECASE | re.MULTILINE).search(text, start)
            if mark is None:
                break
            marks.append(mark)
            start = mark.end()
        else:
            ends = [mark.start() for mark in marks[1:]] + [len(text)]
            parts = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
            parts[-1] = CLOSING.sub("", parts[-1])
            return tuple(part.strip() for part in parts)
    return None


def _bounds(
    dataset: str, observation: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if DATASETS[dataset].answer != "vector":
        return (), ()
    stats = observation.get("action_stats")
    if not isinstance(stats, Mapping) or stats.get("min") is None or stats.get("max") is None:
        raise ValueError(f"{dataset}: 'action_stats' must hold 'min' and 'max', got {stats!r}")
    low = _numbers(f"{dataset}: action_stats['min']", stats["min"])
    high = _numbers(f"{dataset}: action_stats['max']", stats["max"])
    with np.errstate(over="ignore"):
        is_bounded = low.shape == high.shape and low.size and np.isfinite(high - low).all()
    if not is_bounded or (low > high).any():
        raise ValueError(
            f"{dataset}: action_stats must bound each dimension from below and above, got "
            f"min {low.tolist()} and max {high.tolist()}"
        )
    if order := COMPARED.get((dataset, low.size)):
        low, high = (
            np.append(bounds[list(order)], end)
            for bounds, end in zip((low, high), GRIPPER, strict=True)
        )
    return tuple(low.tolist()), tuple(high.tolist())


def _numbers(where: str, value: Any) -> Float[np.ndarray, " n"]:
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} must be numbers: {error}") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where} must be finite, got {numbers.tolist()}")
    return numbers
