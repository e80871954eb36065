"""One complete run, whatever its modality: T observations and the T actions that answered them.

What is learned of a timestep is its action. Where something else was executed in its place (noise,
or an agent that an expert corrects), that stands beside it: it is what led to the next observation.

Text, captions and questions are runs of one timestep: a picture and a question are observed, the
answer is the action; a document is an action without an observation (Reed et al. 2022, §2.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mugato.spec import Leaf, Spec


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Leaves by path, each with a leading axis of T timesteps (text: an array of str).

    Attributes:
        observations, actions: path -> array of shape (T, *leaf.shape).
        rewards: shape (T,); empty where there is no reward (text, pictures).
        executed: what was executed in the place of `actions`, as these; None where it was these.
        name: where it comes from, for error messages ("mugato/cartpole-v0 episode 3").
    """

    observations: Mapping[str, np.ndarray]
    actions: Mapping[str, np.ndarray]
    rewards: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    executed: Mapping[str, np.ndarray] | None = None
    name: str = "episode"

    def __len__(self) -> int:
        return len(next(iter(self.actions.values())))

    def values(self, role: str) -> Mapping[str, np.ndarray]:
        """Return the observations or the actions."""
        return self.observations if role == "observation" else self.actions

    @property
    def as_executed(self) -> "Episode":
        """The same with the actions that were executed: what whoever acted knows of its past."""
        if self.executed is None:
            return self
        return replace(self, actions=self.executed, executed=None)

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(np.sum(self.rewards))

    def window(self, start: int, stop: int) -> "Episode":
        """Return the timesteps from `start` up to `stop`."""
        return Episode(
            observations=_part(self.observations, start, stop),
            actions=_part(self.actions, start, stop),
            rewards=self.rewards[start:stop],
            executed=None if self.executed is None else _part(self.executed, start, stop),
            name=self.name,
        )

    @staticmethod
    def joined(pieces: "Sequence[Episode]") -> "Episode":
        """Join the timesteps of several pieces under the last one's name.

        The pieces have the same leaves. Rewards are left out.
        """
        observations, actions, executed = (
            {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}
            for parts in (
                [p.observations for p in pieces],
                [p.actions for p in pieces],
                [p.as_executed.actions for p in pieces],
            )
        )
        return Episode(
            observations=observations,
            actions=actions,
            executed=None if all(p.executed is None for p in pieces) else executed,
            name=pieces[-1].name,
        )


def _part(leaves: Mapping[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {path: values[start:stop] for path, values in leaves.items()}


def text_leaf(text: str) -> np.ndarray:
    """One timestep of a text leaf.

    >>> text_leaf("to be")
    array(['to be'], dtype=object)
    """
    return np.array([text], dtype=object)


def stack_values(leaf: Leaf, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Stack values of one leaf under a new first axis, of rows or of timesteps.

    >>> stack_values(Leaf(kind="text"), ["to be", "not"])
    array(['to be', 'not'], dtype=object)
    """
    if leaf.kind == "text":
        stacked = np.empty(len(values), dtype=object)
        stacked[:] = [str(v) if isinstance(v, np.str_) else v for v in values]
        return stacked
    return values if isinstance(values, np.ndarray) else np.stack([np.asarray(v) for v in values])


def validate(episode: Episode, spec: Spec) -> Episode:
    """Check an episode against its spec, once, where it enters.

    Raises:
        ValueError: a missing or foreign leaf, unequal lengths, no timestep, a wrong shape, NaN, a
            discrete value, a pixel or a bounded action outside its range, a reward that is not
            finite, naming the episode, the leaf and the timestep. Continuous observations may leave
            their bounds: many environments' do. Executed texts that are not the actions'.
    """
    if episode.actions and len(episode) == 0:
        raise ValueError(f"{episode.name}: no timesteps")
    for role, leaves in (("observation", spec.observation_leaves), ("action", spec.action_leaves)):
        if set(episode.values(role)) != set(leaves):
            raise ValueError(
                f"{episode.name}: {role} leaves {sorted(episode.values(role))}, "
                f"expected {sorted(leaves)}"
            )
    for role, path, leaf in spec.leaves():
        where = f"{episode.name}: {role} {path!r}"
        values = episode.values(role)[path]
        check_leaf(where, values, leaf, len(episode), is_action=role == "action")
    if episode.executed is not None:
        _validate_executed(episode, episode.executed, spec)
    rewards = np.asarray(episode.rewards)
    if len(rewards) not in (0, len(episode)):
        raise ValueError(f"{episode.name}: {len(rewards)} rewards, but {len(episode)} timesteps")
    _raise_first(f"{episode.name}: the reward", rewards, ~np.isfinite(rewards), "is not finite")
    return episode


def _validate_executed(episode: Episode, executed: Mapping[str, np.ndarray], spec: Spec) -> None:
    if set(executed) != set(spec.action_leaves):
        raise ValueError(
            f"{episode.name}: executed leaves {sorted(executed)}, "
            f"expected {sorted(spec.action_leaves)}"
        )
    for path, leaf in spec.action_leaves.items():
        where = f"{episode.name}: executed action {path!r}"
        check_leaf(where, executed[path], leaf, len(episode), is_action=True)
        if leaf.kind == "text":  # its tokens must stand where the target's do
            differs = [a != b for a, b in zip(executed[path], episode.actions[path], strict=True)]
            _raise_first(where, executed[path], differs, "is another text than the action's")


def check_leaf(
    where: str, values: np.ndarray, leaf: Leaf, timesteps: int, *, is_action: bool
) -> None:
    """Check the values of one leaf; `where` begins the error's message. Raises as `validate`."""
    if len(values) != timesteps:
        raise ValueError(f"{where}: {len(values)} timesteps, but there are {timesteps} actions")
    if leaf.kind == "text":
        _raise_first(where, values, [not isinstance(x, str) for x in values], "is not a string")
        return
    if values.shape[1:] != leaf.shape:
        raise ValueError(f"{where}: shape {values.shape[1:]}, expected {leaf.shape}")
    if leaf.kind == "image":
        if values.dtype != np.uint8:
            raise ValueError(f"{where}: {values.dtype} pixels, expected uint8")
        if leaf.low:
            flat = values.reshape(timesteps, -1)
            outside = ((flat < leaf.low[0]) | (flat > leaf.high[0])).any(axis=1)
            bounds = f"has pixels outside [{leaf.low[0]:g}, {leaf.high[0]:g}]"
            _raise_first(where, values, outside, bounds)
        return
    flat = values.reshape(timesteps, -1)
    if np.issubdtype(values.dtype, np.floating):
        _raise_first(where, flat, np.isnan(flat).any(axis=1), "holds NaN")
    if leaf.kind == "discrete":
        _raise_first(where, flat, (flat != np.rint(flat)).any(axis=1), "is not a whole number")
    if leaf.kind == "discrete" or (leaf.bounded and is_action):
        # Environments clip actions themselves up to rounding; more than that is a fault.
        slack = 0.0 if leaf.kind == "discrete" else 1e-4 * (1 + np.abs(leaf.high))
        outside = (flat < np.array(leaf.low) - slack) | (flat > np.array(leaf.high) + slack)
        bounds = f"is outside [{np.min(leaf.low):g}, {np.max(leaf.high):g}]"
        _raise_first(where, flat, outside.any(axis=1), bounds)


def _raise_first(where: str, values: Any, wrong: Any, what: str) -> None:
    if np.any(wrong):
        t = int(np.argmax(wrong))
        shown = np.array2string(np.asarray(values[t]), threshold=8, precision=4)
        place = f" at timestep {t}" if len(values) > 1 else ""
        raise ValueError(f"{where}{place} {what}: {shown}")
