"""What tokens keep of each leaf's values, in the units that the user had (App. B).

Values go to tokens and back and are compared with what was read. `check.py` looks at all of a
source, recording and training at a sample, so that an agent is not trained blind without a word.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from mugato.data.source import Source
from mugato.spec import Leaf, Role, Spec
from mugato.tokens.tokenizer import Tokenizer

# A sample of a source is so many episodes from all over it.
NUM_SAMPLED = 16
# A leaf whose values take fewer bins than this, and are not told apart by them, is a warning.
FEW_BINS = 8
HOW_TO_SCALE = "scale it with --fit-scale, or in the environment"


@dataclass(kw_only=True)
class LeafStats:
    """Figures of one leaf, over all values that were added.

    Attributes:
        low, high: least and greatest value of each element; of a picture, of all its pixels.
        error: largest distance of each element from what its tokens give back.
        used: which of the ids that the leaf may hold occurred.
        saturated: how many values lie beyond the outermost bins.
        beyond: where the first of them is.
        uniform: (timestep, pixel) of pictures in one color, by episode name.
    """

    role: Role
    path: str
    leaf: Leaf
    used: np.ndarray
    values: int = 0
    saturated: int = 0
    beyond: str = ""
    low: np.ndarray = field(default_factory=lambda: np.array([np.inf]))
    high: np.ndarray = field(default_factory=lambda: np.array([-np.inf]))
    error: np.ndarray = field(default_factory=lambda: np.zeros(1))
    uniform: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def is_action(self) -> bool:
        return self.role == "action"

    def add(self, values: np.ndarray, tokens: np.ndarray, tokenizer: Tokenizer, name: str) -> None:
        """Count a leaf's values in one episode and their tokens; texts have no figures."""
        match self.leaf.kind:
            case "image":
                flat = values.reshape(len(values), -1)
                self._extend(flat.min(initial=255)[None], flat.max(initial=0)[None])
                alike = flat.min(axis=1) == flat.max(axis=1)
                if alike.any() and self.leaf.size > 1:
                    t = int(alike.argmax())
                    self.uniform[name] = (t, float(flat[t, 0]))
            case "discrete" | "continuous" if values.size:
                self._add_numbers(values, tokens[..., 0], tokenizer, name)
        self.values += values.size

    def warnings(self) -> Iterator[str]:
        """Yield what is lost, a line each."""
        name = f"{self.role} {self.path!r}"
        if self.leaf.kind == "image" and self.leaf.low:
            low, high = self.leaf.low[0], self.leaf.high[0]
            yield f"{name}: pictures of {low:g} to {high:g}, scaled to 0 to 255 as its space says"
        if self.leaf.kind != "continuous" or not self.values:
            return
        reach = f"from {self.low.min():.7g} to {self.high.max():.7g}"
        if self.saturated:
            share = self.saturated / self.values
            yield (
                f"{name} is {reach}: {share:.1%} of its values lie beyond what is told apart; "
                f"{HOW_TO_SCALE}"
            )
            return
        if self.used.sum() < FEW_BINS and min(self.steps, default=np.inf) < FEW_BINS:
            yield (
                f"{name} is {reach} and takes {self.used.sum()} of {len(self.used):,} bins, which "
                f"do not tell its values apart; {HOW_TO_SCALE}"
            )

    def outside(self) -> Iterator[str]:
        """Yield a line if an observation leaves its finite bounds, as many environments' do."""
        if self.leaf.kind != "continuous" or self.is_action or not self.values:
            return
        slack = 1e-5 * (1 + np.abs(self.leaf.low)), 1e-5 * (1 + np.abs(self.leaf.high))
        left = (self.low < self.leaf.low - slack[0]) | (self.high > self.leaf.high + slack[1])
        if left.any():
            i = int(left.argmax())
            yield (
                f"{self.role} {self.path!r} leaves its bounds [{self.leaf.low[i]:g}, "
                f"{self.leaf.high[i]:g}]: it is from {self.low[i]:.7g} to {self.high[i]:.7g}"
            )

    @property
    def steps(self) -> list[float]:
        """How many steps between its least and greatest value are told apart, of each element."""
        span = self.high - self.low
        whole = np.full_like(span, np.inf)
        coarse = (span > 0) & (self.error > 0)
        return np.divide(span, 2 * self.error, out=whole, where=coarse).tolist()

    def _add_numbers(
        self, values: np.ndarray, ids: np.ndarray, tokenizer: Tokenizer, name: str
    ) -> None:
        vocab = tokenizer.vocab
        ids_of_kind = vocab.continuous if self.leaf.kind == "continuous" else vocab.discrete
        self.used[np.unique(ids) - ids_of_kind.start] = True
        flat = values.reshape(len(values), -1).astype(np.float64)
        self._extend(flat.min(axis=0), flat.max(axis=0))
        distance, slack = losses(self.leaf, values, ids, tokenizer, is_action=self.is_action)
        self.error = np.maximum(self.error, distance.max(axis=0))
        beyond = (distance > slack).any(axis=1)
        if beyond.any() and not self.saturated:
            self.beyond = f"{name} at timestep {int(beyond.argmax())}"
        self.saturated += int((distance > slack).sum())

    def _extend(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)


def source_stats(spec: Spec, tokenizer: Tokenizer) -> list[LeafStats]:
    """Make empty figures for every leaf, those of the observation first."""
    made = []
    for role, path, leaf in spec.leaves():
        countable = leaf.kind in ("discrete", "continuous")
        most = max(len(tokenizer.legal_ids(leaf, i)) for i in range(leaf.size)) if countable else 0
        made.append(LeafStats(role=role, path=path, leaf=leaf, used=np.zeros(most, np.bool_)))
    return made


def sample_warnings(source: Source, tokenizer: Tokenizer) -> list[str]:
    """Return what tokens lose of a sample of a source's numbers, a line each."""
    stats = [one for one in source_stats(source.spec, tokenizer) if one.leaf.kind == "continuous"]
    picked = np.linspace(0, len(source) - 1, min(len(source), NUM_SAMPLED)).astype(int)
    for i in picked if stats else ():
        episode = source.checked(int(i))
        for one in stats:
            values = episode.values(one.role)[one.path]
            tokens, _ = tokenizer.encode(one.leaf, values, is_action=one.is_action)
            one.add(values, tokens, tokenizer, name=episode.name)
    return [line for one in stats for line in one.warnings()]


def losses(
    leaf: Leaf, values: np.ndarray, ids: Int[np.ndarray, "t n"], tokenizer: Tokenizer, *,
    is_action: bool,
) -> tuple[Float[np.ndarray, "t n"], Float[np.ndarray, "t n"] | float]:  # fmt: skip
    """Return how far each number is from what its id gives back, and how far it may be.

    It may be as far as the centers of the bins beside are apart; discrete values not at all.
    """
    n = len(ids)
    if leaf.kind == "continuous" and not is_action:  # observations may leave their bounds
        leaf = replace(leaf, low=(-np.inf,) * leaf.size, high=(np.inf,) * leaf.size)
    stacked = leaf.stacked(n)  # all timesteps as one value

    def decode(ids: np.ndarray) -> np.ndarray:
        back = tokenizer.decode(stacked, ids.reshape(-1), is_action=is_action)
        return back.astype(np.float64).reshape(n, -1)

    distance = np.abs(values.astype(np.float64).reshape(n, -1) - decode(ids))
    if leaf.kind == "discrete":
        return distance, 0.0
    bins = tokenizer.vocab.continuous
    below, above = (np.clip(ids + side, bins[0], bins[-1]) for side in (-1, 1))
    return distance, np.abs(decode(above) - decode(below))
