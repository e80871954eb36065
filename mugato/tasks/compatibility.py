"""Whether an environment is one that an agent's task was made for: its spaces against the spec."""

import gymnasium
from gymnasium.vector import VectorEnv

from mugato.spec import Leaf, Spec, spec_of


def check_compatible(
    spec: Spec, env: gymnasium.Env | VectorEnv, *, task: str, whose: str = "agent's task"
) -> None:
    """Refuse an environment whose observations or actions are not the task's.

    Element types and the bounds of continuous observations may differ: values are cast, and many
    environments leave their bounds.

    Args:
        whose: what the spec is of, for the error.

    Raises:
        ValueError: showing what differs and both specs.
    """
    vector = isinstance(env, VectorEnv)
    observation = env.single_observation_space if vector else env.observation_space
    action = env.single_action_space if vector else env.action_space
    found = spec_of(observation, action)
    expected_lines, found_lines = _lines(spec), _lines(found)
    if expected_lines == found_lines:
        return
    raise ValueError(
        f"the environment does not fit the {whose} {task!r}\n"
        f"expected:\n{_shown(expected_lines, found_lines)}\n"
        f"found:\n{_shown(found_lines, expected_lines)}"
    )


def _lines(spec: Spec) -> list[str]:
    """Describe what must agree, one line for each leaf."""
    return [
        f"{role} {path}: {_described(leaf, bounds=role == 'action' or leaf.kind == 'discrete')}"
        for role, path, leaf in spec.leaves()
    ]


def _described(leaf: Leaf, *, bounds: bool) -> str:
    """Describe a leaf in words.

    >>> _described(Leaf(kind="discrete", low=(0.0,), high=(3.0,)), bounds=True)
    'discrete, shape (), from 0 to 3'
    >>> _described(Leaf(kind="text"), bounds=True)
    'text'
    """
    if leaf.kind == "text":
        return "text"
    words = f"{leaf.kind}, shape {leaf.shape}"
    if leaf.channels_first:
        words += ", channels first"
    if leaf.kind == "image":
        return f"{words}, from {leaf.low[0]:g} to {leaf.high[0]:g}" if leaf.low else words
    if bounds:
        words += f", from {_bound(leaf.low)} to {_bound(leaf.high)}"
    return words


def _bound(values: tuple[float, ...]) -> str:
    alike = len(set(values)) == 1
    return f"{values[0]:g}" if alike else "[" + ", ".join(f"{v:g}" for v in values) + "]"


def _shown(lines: list[str], others: list[str]) -> str:
    """Join the lines; those that the other side does not have are marked."""
    return "\n".join(("  " if line in others else "> ") + line for line in lines)
