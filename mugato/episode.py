"""One complete run, whatever its modality: T observations and the T actions that answered them.

Text, captions and questions are runs of one timestep: a picture and a question are observed, the
answer is the action; a document is an action without an observation (Reed et al. 2022, §2.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mugato.spec import Leaf, Spec


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Leaves by path, each with a leading axis of T timesteps (text: an array of str).

    Attributes:
        observations, actions: path -> array of shape (T, *leaf.shape).
        rewards: shape (T,); empty where there is no reward (text, pictures).
        name: where it comes from, for error messages ("mugato/cartpole-v0 episode 3").
    """

    observations: Mapping[str, np.ndarray]
    actions: Mapping[str, np.ndarray]
    rewards: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    name: str = "episode"

    def __len__(self) -> int:
        return len(next(iter(self.actions.values())))

    def values(self, role: str) -> Mapping[str, np.ndarray]:
        """Return the observations or the actions."""
        return self.observations if role == "observation" else self.actions

    @property
    def episode_return(self) -> float:
        """Undiscounted sum of rewards."""
        return float(np.sum(self.rewards))

    def window(self, start: int, stop: int) -> "Episode":
        """Return the timesteps from `start` up to `stop`."""
        return Episode(
            observations={path: values[start:stop] for path, values in self.observations.items()},
            actions={path: values[start:stop] for path, values in self.actions.items()},
            rewards=self.rewards[start:stop],
            name=self.name,
        )

    @staticmethod
    def joined(pieces: "Sequence[Episode]") -> "Episode":
        """Join the timesteps of several pieces under the last one's name.

        The pieces have the same leaves. Rewards are left out.
        """
        observations, actions = (
            {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}
            for parts in ([p.observations for p in pieces], [p.actions for p in pieces])
        )
        return Episode(observations=observations, actions=actions, name=pieces[-1].name)


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
            their bounds: many environments' do.
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
    rewards = np.asarray(episode.rewards)
    if len(rewards) not in (0, len(episode)):
        raise ValueError(f"{episode.name}: {len(rewards)} rewards, but {len(episode)} timesteps")
    _raise_first(f"{episode.name}: the reward", rewards, ~np.isfinite(rewards), "is not finite")
    return episode


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
        raise ValueError(f"{where} at timestep {t} {what}: {shown}")
