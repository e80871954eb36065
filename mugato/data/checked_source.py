"""The gate between sources and the mixture: nothing damaged passes, nothing is skipped."""

from dataclasses import dataclass, field

import numpy as np

from mugato.data.source import Source
from mugato.episode import Episode, validate

# Episodes looked at to learn how many tokens a text has.
NUM_PROBES = 32


@dataclass(frozen=True, kw_only=True)
class CheckedSource:
    """A source, each episode of which is validated when it is first read.

    Raises:
        ValueError: from reading, naming the source and the episode.
    """

    source: Source
    _known: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.source) == 0:
            raise ValueError(f"source {self.source.name!r} has no episodes")
        object.__setattr__(self, "_known", np.zeros(len(self.source), np.bool_))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Episode:
        episode = self.source[index]
        if not self._known[index]:
            self._check(index, episode)
            self._known[index] = True
        return episode

    def window(self, index: int, start: int, stop: int) -> Episode:
        """The timesteps from `start` up to `stop` of an episode.

        A source that reads them without the rest (`window`) has checked what it read.
        """
        read = getattr(self.source, "window", None)
        return self[index].window(start, stop) if read is None else read(index, start, stop)

    def lengths(self) -> np.ndarray:
        """Timesteps of each episode: as the source says, or counted."""
        known = getattr(self.source, "lengths", None)
        if known is None:
            known = [len(self[i]) for i in range(len(self))]
        return np.asarray(known, np.int64)

    def probes(self) -> list[Episode]:
        """A few episodes from all over the source, the same ones every time."""
        picked = np.linspace(0, len(self) - 1, min(len(self), NUM_PROBES)).astype(int)
        return [self[int(i)] for i in picked]

    def _check(self, index: int, episode: Episode) -> None:
        where = f"source {self.source.name!r}, episode {index}"
        try:
            validate(episode, self.source.spec)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        known = getattr(self.source, "lengths", None)
        if known is not None and known[index] != len(episode):
            raise ValueError(
                f"{where}: {len(episode)} timesteps, but its source says {known[index]}"
            )
