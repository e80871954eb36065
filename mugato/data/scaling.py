"""A scale fitted on demonstrations, for values that the paper's tokens do not tell apart (App. B).

Continuous values beyond ±256 share one token, and so do many around a large number. Where a run
asks for it each element is brought to [-1, 1] by its own range in the demonstrations. The scale
stands in the spec, so that it travels with the agent and is undone when it acts.
"""

from dataclasses import replace

import numpy as np

from mugato.data.source import Source, WrappedSource
from mugato.spec import Leaf, Role, Spec, Tree, unflatten

# A scale is fitted on at most so many episodes from all over a source.
NUM_FITTED = 1000


class ScaledSource(WrappedSource):
    """A source whose values are the same and whose spec says how they are scaled."""

    def __init__(self, source: Source) -> None:
        """Fit the scale: each continuous element's range becomes [-1, 1].

        Actions within finite bounds are scaled by these as ever.
        """
        super().__init__(source)
        self.spec = _fitted(source)


def _fitted(source: Source) -> Spec:
    ranges: dict[tuple[Role, str], tuple[np.ndarray, np.ndarray]] = {}
    leaves: list[tuple[Role, str, Leaf]] = [
        (role, path, leaf)
        for role, path, leaf in source.spec.leaves()
        if leaf.kind == "continuous" and not (role == "action" and leaf.bounded)
    ]
    count = min(len(source), NUM_FITTED)
    for i in np.linspace(0, len(source) - 1, count).round().astype(int) if leaves else ():
        episode = source.checked(int(i))
        for role, path, _ in leaves:
            values = episode.values(role)[path].reshape(len(episode), -1).astype(np.float64)
            low, high = ranges.get((role, path), (np.inf, -np.inf))
            ranges[role, path] = (
                np.minimum(low, values.min(axis=0)),
                np.maximum(high, values.max(axis=0)),
            )
    scaled = {(role, path): _scaled(leaf, *ranges[role, path]) for role, path, leaf in leaves}

    def tree(role: Role) -> Tree:
        root = source.spec.observation if role == "observation" else source.spec.action
        leaves = {path: leaf for its, path, leaf in source.spec.leaves() if its == role}
        return unflatten(root, {p: scaled.get((role, p), leaf) for p, leaf in leaves.items()}, role)

    return Spec(observation=tree("observation"), action=tree("action"))


def _scaled(leaf: Leaf, low: np.ndarray, high: np.ndarray) -> Leaf:
    half = high / 2 - low / 2
    scale = np.where(half > 0, half, 1.0)
    center = low / 2 + high / 2
    return replace(leaf, center=tuple(center.tolist()), scale=tuple(scale.tolist()))
