"""What MultiNet asks, checked: its data sets, its observations and its kinds of answer.

MultiNet (Manifold Research, v1.0) hands an adapter dictionaries. Here they become a `Request`, or a
ValueError that names the data set, the key and what is wrong. Neither tokens nor a model.
"""

import json
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


ROBOT = Dataset(answer="vector", text=False)
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

LISTED = re.compile(
    r"^[ \t]*(?:option|solution|choice)?[ \t]*(\d+)[ \t]*[.:)][ \t]*(\S.*)$", re.IGNORECASE | re.M
)
# A name and its arguments: brackets within them only in quotes.
CALL = re.compile(r"""[A-Za-z_][\w.]*\((?:[^()'"]|'[^'\n]*'|"[^"\n]*")*\)""")


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
    instruction: str | None,
    dataset: str | None,
    messages: Sequence[Mapping[str, Any]] = (),
) -> Request:
    """Check one observation and what is said with it.

    Args:
        messages: the conversation so far: `{"role": "user", "content": "..."}`.

    Raises:
        ValueError: a data set that is not MultiNet's, or an observation that lacks what the data
            set's have, or holds it in another form.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}; supported are {sorted(DATASETS)}")
    if not isinstance(observation, Mapping):
        raise ValueError(f"{dataset}: an observation is a dict, got {type(observation).__name__}")
    said = [text for text in (instruction, observation.get("question")) if text is not None]
    if not all(isinstance(text, str) for text in said):
        raise ValueError(f"{dataset}: instruction and 'question' must be text, got {said!r}")
    wanted = DATASETS[dataset]
    image, state = _first(observation, IMAGE_KEYS), _first(observation, STATE_KEYS)
    context, question = _text(dataset, _first(observation, TEXT_KEYS)), "\n".join(said)
    conversation = [f"{message['role']}: {message['content']}" for message in messages]
    if wanted.image and image is None:
        raise ValueError(f"{dataset}: no 'image' in the observation, only {sorted(observation)}")
    if wanted.text and not (question.strip() or context.strip()):
        raise ValueError(f"{dataset}: neither an instruction nor a 'question' or 'text'")
    low, high = _bounds(dataset, observation) if wanted.answer == "vector" else ((), ())
    return Request(
        dataset=dataset,
        text="\n".join(part for part in (context, *conversation, question) if part),
        image=None if image is None else _image(dataset, image),
        state=None if state is None else _state(dataset, state),
        options=_options(dataset, _first(observation, OPTION_KEYS), question),
        low=low,
        high=high,
    )


def extract_calls(text: str) -> list[str]:
    """Extract the function calls in a text, whitespace outside quotes made single, in order.

    >>> extract_calls("I call cd(folder='a (b)') and  then ls( a = True )!")
    ["cd(folder='a (b)')", 'ls( a = True )']
    >>> extract_calls("nothing to call (really")
    []
    """
    return [re.sub(r"\s+", " ", call) for call in CALL.findall(text)]


def _first(observation: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((observation[key] for key in keys if observation.get(key) is not None), None)


def _text(dataset: str, value: Any) -> str:
    """Text as it is, several joined, a table (Overcooked's meanings of actions) as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case Mapping():
            return json.dumps({str(k): v for k, v in value.items()}, default=str)
        case list() | tuple() if all(isinstance(part, str) for part in value):
            return "\n".join(value)
    raise ValueError(f"{dataset}: 'text' must be text, got {type(value).__name__}")


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


def _state(dataset: str, value: Any) -> Float[np.ndarray, " n"]:
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
    if all(isinstance(option, int | np.integer) for option in value):
        listed = LISTED.findall(said)
        numbers = [int(number) for number, _ in listed]
        if numbers in (list(range(len(value))), list(range(1, len(value) + 1))):
            return tuple(text.strip() for _, text in listed)
    return tuple(str(option) for option in value)


def _bounds(
    dataset: str, observation: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    stats = observation.get("action_stats")
    if not isinstance(stats, Mapping) or stats.get("min") is None or stats.get("max") is None:
        raise ValueError(f"{dataset}: 'action_stats' must hold 'min' and 'max', got {stats!r}")
    low = _numbers(f"{dataset}: action_stats['min']", stats["min"])
    high = _numbers(f"{dataset}: action_stats['max']", stats["max"])
    if low.shape != high.shape or not low.size or (low > high).any():
        raise ValueError(
            f"{dataset}: action_stats must bound each dimension from below and above, got "
            f"min {low.tolist()} and max {high.tolist()}"
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
