"""Discrete values to token offsets and back (Reed et al. 2022, §2.1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, kw_only=True)
class DiscreteValueTokenizer:
    """Integers between `low` and `high` (inclusive, one pair for each element) counted from 0."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def encode(self, values: np.ndarray) -> Int[np.ndarray, "... n"]:
        """Count from `low`.

        Raises:
            ValueError: for a value outside the range; nothing is clamped.

        >>> DiscreteValueTokenizer(low=(-1.0,), high=(3.0,)).encode(np.array([[-1], [3]])).tolist()
        [[0], [4]]
        """
        low, high = np.array(self.low, np.int64), np.array(self.high, np.int64)
        values = np.asarray(values).astype(np.int64)
        if (values < low).any() or (values > high).any():
            raise ValueError(
                f"discrete values {values.min()}..{values.max()} "
                f"outside [{low.min()}, {high.max()}]"
            )
        return (values - low).astype(np.int32)

    def decode(self, offsets: Int[np.ndarray, "... n"]) -> Int[np.ndarray, "... n"]:
        """Count back up from `low`.

        >>> DiscreteValueTokenizer(low=(-1.0,), high=(3.0,)).decode(np.array([[0], [4]])).tolist()
        [[-1], [3]]
        """
        return np.asarray(offsets, np.int64) + np.array(self.low, np.int64)
