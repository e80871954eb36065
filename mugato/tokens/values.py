"""Continuous values to bins, discrete values to offsets, and back (Reed et al. 2022, §2.1, App. B).

Observations are squashed by the µ-law and then cut into uniform bins. Actions with finite bounds
are mapped affinely to [-1, 1] instead, where the paper finds them already. Discrete values are
counted from their lowest. Both start at 0; `vocab.py` turns them into token ids.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class UniformBins:
    """[-1, 1] cut into `num_bins` equal intervals."""

    num_bins: int = 1024

    def encode(self, values: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """Map [-1, 1] to bins 0..num_bins-1; values beyond saturate.

        Raises:
            ValueError: for NaN, which no bin stands for.

        >>> UniformBins(num_bins=1024).encode(np.array([-1.0, 0.0, 1.0])).tolist()
        [0, 512, 1023]
        """
        kept = np.clip(np.asarray(values, np.float64), -1, 1)  # NaN stays
        bins = np.floor((kept + 1) * (self.num_bins / 2))
        if np.isnan(bins).any():
            raise ValueError(f"NaN cannot become a token, got {_shown(values)}")
        return np.clip(bins, 0, self.num_bins - 1).astype(np.int32)

    def decode(self, bins: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the centre of each bin.

        >>> UniformBins(num_bins=4).decode(np.array([0, 3])).tolist()
        [-0.75, 0.75]
        """
        return (np.asarray(bins, np.float64) + 0.5) * (2 / self.num_bins) - 1


@dataclass(frozen=True, kw_only=True)
class ContinuousValueTokenizer:
    """Unbounded values to bins: µ-law, then uniform bins (App. B, eq. 3).

    `sgn(x) · log(|x|·mu + 1) / log(max_value·mu + 1)`; beyond ±max_value values saturate.

    Attributes:
        center, scale: one for each element; x is `(value - center) / scale`. Empty in the paper.
    """

    num_bins: int = 1024
    mu: float = 100.0
    max_value: float = 256.0
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def encode(self, values: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """Map values to bins; each bin depends on its value alone.

        >>> ContinuousValueTokenizer().encode(np.array([-256.0, 0.0, 0.25, 256.0, 1e9])).tolist()
        [0, 512, 676, 1023, 1023]
        """
        values = np.asarray(values, np.float64)
        if self.scale:
            values = (values - np.array(self.center)) / np.array(self.scale)
        # What is clipped here saturates anyway, and cannot overflow.
        size = np.minimum(np.abs(values), self.max_value)
        squashed = np.sign(values) * np.log1p(size * self.mu) / self._log_range
        return UniformBins(num_bins=self.num_bins).encode(squashed)

    def decode(self, bins: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Return the value at the centre of each bin.

        >>> tokenizer = ContinuousValueTokenizer()
        >>> tokenizer.decode(np.array([0, 1023])).round(1).tolist()
        [-253.5, 253.5]
        """
        squashed = UniformBins(num_bins=self.num_bins).decode(bins)
        values = np.sign(squashed) * np.expm1(np.abs(squashed) * self._log_range) / self.mu
        return values * np.array(self.scale) + np.array(self.center) if self.scale else values

    @property
    def _log_range(self) -> float:
        return float(np.log1p(self.max_value * self.mu))


@dataclass(frozen=True, kw_only=True)
class BoundedValueTokenizer:
    """Values within known finite bounds (one pair for each element) to uniform bins, no µ-law.

    Raises:
        ValueError: for bounds that are not finite, or whose difference is not.
    """

    num_bins: int = 1024
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.isfinite(np.subtract(self.high, self.low))
        if not apart.all():
            place = int(np.argmin(apart))
            raise ValueError(
                f"bounds from {self.low[place]:g} to {self.high[place]:g} are not a finite "
                "distance apart, so that no bins divide them"
            )

    def encode(self, values: Float[np.ndarray, "... n"]) -> Int[np.ndarray, "... n"]:
        """Map [low, high] to bins.

        >>> tokenizer = BoundedValueTokenizer(low=(0.0,), high=(2.0,))
        >>> tokenizer.encode(np.array([[0.0], [1.0], [2.0]])).T
        array([[   0,  512, 1023]], dtype=int32)
        """
        low, high = np.array(self.low), np.array(self.high)
        width = np.where(high > low, high - low, 1.0)
        kept = np.clip(values, low, high)  # what lies beyond saturates
        return UniformBins(num_bins=self.num_bins).encode((kept - low) / width * 2 - 1)

    def decode(self, bins: Int[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
        """Return bin centres, which always lie within the bounds.

        >>> tokenizer = BoundedValueTokenizer(num_bins=2, low=(0.0,), high=(2.0,))
        >>> tokenizer.decode(np.array([[0], [1]])).T
        array([[0.5, 1.5]])
        """
        low, high = np.array(self.low), np.array(self.high)
        return low + (UniformBins(num_bins=self.num_bins).decode(bins) + 1) / 2 * (high - low)


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
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise ValueError(f"discrete values must be numbers, got {_shown(values)}")
        values = values.astype(np.int64)
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


def _shown(values: np.ndarray) -> str:
    return np.array2string(np.asarray(values), threshold=8, precision=4)
