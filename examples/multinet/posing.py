"""MultiNet's requests as the agent sees them: a spec, an observation that fits it, and a past.

Where the agent was trained on a task of the data set's name, that task's spec says what it sees;
otherwise a spec is made from what is observed. All that follows is the one way of acting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mugato.agent import Agent, AgentTask
from mugato.data.formats.multinet.answers import join_calls
from mugato.data.formats.multinet.names import dataset_of, max_characters_of
from mugato.data.formats.multinet.requests import NUM_JOINT_ACTIONS, Request, read_request
from mugato.episode import Episode, stack_values, validate
from mugato.spec import TEXT_LEAF, Leaf, Spec, Tree
from mugato.system.errors import known_names
from mugato.tokens.images import image_size
from mugato.tokens.sequence import NUM_LOCAL_POSITIONS as MAX_OBSERVED
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer

Leaves = dict[str, Any]

# Beyond a call of several arguments (92 tokens were seen), of the text answers' share of a context.
MAX_TEXT_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class PosingConfig:
    """How requests are put to an agent.

    Attributes:
        tasks: which task or source of the agent's answers a data set, where its name is another.
        max_text_tokens: what a text answer may take at most, its end included.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    max_text_tokens: int = MAX_TEXT_TOKENS

    def __post_init__(self) -> None:
        if self.max_text_tokens < 1:
            raise ValueError(f"max_text_tokens must be at least 1, got {self.max_text_tokens}")


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """A request as the agent sees it.

    Attributes:
        agent: knows the data set as its only task.
        current: the observation's leaves.
        past: earlier timesteps.
    """

    request: Request
    agent: Agent
    current: Leaves
    past: Episode | None

    @property
    def spec(self) -> Spec:
        return self.agent.spec(self.request.dataset)

    @property
    def leaf(self) -> Leaf:
        """The only leaf of the action."""
        return self.spec.action_leaves["action"]


def pose(
    agent: Agent,
    dataset: str | None,
    observation: Any,
    instruction: Any,
    history: Sequence[Any] | None,
    config: PosingConfig = PosingConfig(),
) -> ModelRequest:
    """Turn what the benchmark gives into what the agent reads.

    Raises:
        ValueError: a malformed request, or one that does not fit the agent's own task.
    """
    messages, pairs = _split(dataset, history or ())
    name = known_task(agent, dataset, config.tasks)
    shown = max_characters_of(name) if name and dataset_of(name) else None
    request = read_request(observation, instruction, dataset, messages, max_characters=shown)
    known = None if name is None else agent.tasks[name]
    context_length = agent.model.config.context_length
    leaf = _known_leaf(request, known.spec) if known else _made_leaf(request)
    longest = min(config.max_text_tokens, max(1, context_length // 4))
    room = min(context_length - (longest if leaf.kind == "text" else leaf.size), MAX_OBSERVED) - 1
    if leaf.kind == "text":
        options = tuple(cut(agent.tokenizer.text, o, longest - 1) for o in request.options)
        request = replace(request, options=options)
    tokenizer = agent.tokenizer if known else _shrinking(agent.tokenizer, room // 2)
    tree = known.spec.observation if known else _observation_tree(request)
    spec = Spec(observation=tree, action=leaf)
    if known and known.history:  # the agent has forgotten all before the last multiple of it
        pairs = pairs[len(pairs) - len(pairs) % known.history :]
    seen = [
        read_request(one, instruction, dataset, max_characters=shown) for one, _ in pairs
    ] + [request]  # fmt: skip
    leaves = [_observed(one, spec, tokenizer, room) for one in seen]
    done = [_done(request, leaf, action) for _, action in pairs]
    if leaf.kind == "text":
        done = [cut(tokenizer.text, text, longest - 1) for text in done]
    return ModelRequest(
        request=request,
        agent=replace(agent, tokenizer=tokenizer, tasks={request.dataset: AgentTask(spec=spec)}),
        current=leaves[-1],
        past=_past(request, spec, leaves[:-1], done) if pairs else None,
    )


def known_task(agent: Agent, dataset: str | None, tasks: Mapping[str, str]) -> str | None:
    """Name the agent's own task that answers a data set, None where it has learned none.

    That is the one that `tasks` names; or the one of the data set's own name; or the source that
    is read from the data set's download (`multinet:FOLDER/NAME`). Options may follow each name.

    Raises:
        ValueError: `tasks` names what the agent does not know.
    """
    if dataset is None:
        return None
    wanted = tasks.get(dataset, dataset)
    named = [name for name in agent.tasks if wanted in (name, name.partition("?")[0])]
    if not named and dataset in tasks:
        raise ValueError(
            f"{dataset}: the agent knows no task {wanted!r}{known_names(wanted, agent.tasks)}"
        )
    return next(iter(named or [name for name in agent.tasks if dataset_of(name) == dataset]), None)


def _shrinking(tokenizer: Tokenizer, most: int) -> Tokenizer:
    """Make pictures take at most so many tokens."""
    image = tokenizer.image
    most = max(1, min(most, image.max_patches or most))
    return replace(tokenizer, image=replace(image, max_patches=most))


def cut(tokenizer: TextTokenizer, text: str, num_tokens: int) -> str:
    """Return the end of a text, of at most so many tokens: what is asked stands last."""
    ids = tokenizer.encode(text)
    if len(ids) <= num_tokens:
        return text
    for start in range(len(ids) - num_tokens, len(ids)):
        kept = tokenizer.decode(ids[start:])
        if len(tokenizer.encode(kept)) <= num_tokens:  # a part, cut anew, may need more tokens
            return kept
    return ""


def _split(
    dataset: str | None, history: Sequence[Any]
) -> tuple[list[Mapping[str, Any]], list[tuple[Mapping[str, Any], Any]]]:
    """Messages, and pairs of an observation and an action."""
    messages, pairs = [], []
    for number, item in enumerate(history):
        match item:
            case {"role": str(), "content": str()}:
                messages.append(item)
            case (Mapping() as seen, action):
                pairs.append((seen, action))
            case _:
                raise ValueError(
                    f"{dataset}: item {number} of the history must be {{'role', 'content'}} or "
                    f"(observation, action), got {type(item).__name__}"
                )
    return messages, pairs


def _observation_tree(request: Request) -> Tree:
    tree: dict[str, Leaf] = {}
    if request.text:
        tree["text"] = TEXT_LEAF
    if request.image is not None:
        tree["image"] = Leaf(kind="image", shape=request.image.shape, dtype="uint8")
    if request.state is not None:
        n = len(request.state)
        infinite = (float("inf"),) * n
        low = tuple(-x for x in infinite)
        tree["state"] = Leaf(kind="continuous", shape=(n,), dtype="float64", low=low, high=infinite)
    return tree


def _made_leaf(request: Request) -> Leaf:
    """Describe the action that a data set asks for."""
    match request.answer:
        case "action":
            return _index_leaf(len(request.options) or NUM_JOINT_ACTIONS)
        case "vector":
            low, high = request.low, request.high
            return Leaf(kind="continuous", shape=(len(low),), dtype="float64", low=low, high=high)
    return TEXT_LEAF


def _known_leaf(request: Request, known: Spec) -> Leaf:
    """Describe the own task's action, its indices restricted to those that are asked for.

    Raises:
        ValueError: if it could not be an answer.
    """
    made, leaves = _made_leaf(request), list(known.action_leaves.values())
    leaf, by_number = leaves[0], request.answer in ("action", "choice")
    if len(leaves) == 1:
        if leaf.kind == made.kind == "text":
            return leaf
        if leaf.kind == made.kind == "continuous" and leaf.size == made.size:
            return replace(leaf, shape=made.shape)
        if by_number and leaf.kind == "discrete" and leaf.low == (0.0,):
            asked = len(request.options) or NUM_JOINT_ACTIONS
            return _index_leaf(min(asked, int(leaf.high[0]) + 1))
    raise ValueError(
        f"{request.dataset}: the agent's own task of that name acts with {leaves}, "
        f"but the benchmark asks for {made}"
    )


def _index_leaf(count: int) -> Leaf:
    return Leaf(kind="discrete", dtype="int64", low=(0.0,), high=(count - 1.0,))


def _observed(request: Request, spec: Spec, tokenizer: Tokenizer, room: int) -> Leaves:
    """Return text, picture and state as the spec's leaves, the text cut to what fits."""
    kinds = ["numbers" if leaf.kind in ("discrete", "continuous") else leaf.kind
             for leaf in spec.observation_leaves.values()]  # fmt: skip
    if len(set(kinds)) != len(kinds):
        raise ValueError(
            f"{request.dataset}: the agent's own task observes {list(spec.observation_leaves)}, "
            "but the benchmark shows at most one text, one picture and one state"
        )
    taken = sum(tokenizer.num_tokens(leaf) or 0 for leaf in spec.observation_leaves.values())
    if taken > room:
        raise ValueError(
            f"{request.dataset}: picture and state take {taken} tokens, there is room for {room}"
        )
    leaves: Leaves = {}
    for path, leaf in spec.observation_leaves.items():
        match leaf.kind:
            case "text":
                leaves[path] = cut(tokenizer.text, request.text, room - taken)
            case "image":
                leaves[path] = _resized(_picture(request, path), leaf)
            case _:
                state = _present(request, path, request.state)
                if state.size != leaf.size:
                    raise ValueError(
                        f"{request.dataset}: 'state' has {state.size} numbers, {path!r} of the "
                        f"agent's task {leaf.size}"
                    )
                leaves[path] = state.reshape(leaf.shape).astype(leaf.dtype)
    return leaves


def _picture(request: Request, path: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return the picture; where a robot's is missing, the black one that the harness else gives."""
    if request.image is None and request.answer == "vector":
        return np.zeros((1, 1, 3), np.uint8)
    return _present(request, path, request.image)


def _present(request: Request, path: str, value: np.ndarray | None) -> np.ndarray:
    if value is None:
        raise ValueError(
            f"{request.dataset}: nothing in the observation is {path!r}, which is needed here"
        )
    return value


def _resized(picture: UInt8[np.ndarray, "h w 3"], leaf: Leaf) -> UInt8[np.ndarray, "..."]:
    """Resize a picture to the size and layout of a leaf."""
    height, width = image_size(leaf)
    image = Image.fromarray(picture)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BOX)
    if leaf.size == height * width:
        return np.asarray(image.convert("L")).reshape(leaf.shape)
    return np.moveaxis(np.asarray(image), -1, 0) if leaf.channels_first else np.asarray(image)


def _done(request: Request, leaf: Leaf, action: Any) -> Any:
    """Read an earlier action, which may be a whole prediction, as a value of the leaf."""
    if isinstance(action, Mapping) and "extracted_outputs" in action:
        action = action["extracted_outputs"]
    if leaf.kind != "text":
        return action
    if isinstance(action, int | np.integer) and 0 <= action < len(request.options):
        action = request.options[action]
    if request.answer == "calls" and isinstance(action, list | tuple):
        action = join_calls(action)
    if not isinstance(action, str):
        raise ValueError(f"{request.dataset}: an earlier answer is no text: {action!r}")
    return action


def _past(request: Request, spec: Spec, observed: Sequence[Leaves], done: Sequence[Any]) -> Episode:
    """Earlier timesteps."""
    leaves, name = spec.observation_leaves, f"{request.dataset}: the history"
    observations = {
        path: stack_values(leaf, [one[path] for one in observed]) for path, leaf in leaves.items()
    }
    (leaf,) = spec.action_leaves.values()
    try:
        if leaf.kind != "text":
            done = [np.asarray(action).reshape(leaf.shape) for action in done]
        actions = {"action": stack_values(leaf, done)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {done!r} are no actions of {leaf.shape}: {error}") from None
    return validate(Episode(observations=observations, actions=actions, name=name), spec)
