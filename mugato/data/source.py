"""Where episodes come from: the base class of all data, and what sources share.

A source is a named, finite, randomly accessible list of episodes with one spec. It knows nothing of
tokens, weights or batches. Every opener takes its split by name: nothing is split implicitly.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from mugato.data.metrics import Metric, metric_of
from mugato.episode import Episode, validate
from mugato.spec import Spec
from mugato.system.errors import did_you_mean

# Episodes looked at to learn how many tokens a text has.
NUM_PROBES = 32


class Source(ABC):
    """A list of episodes that share a spec; `source[i]` is cheap and gives the same every time.

    A subclass has a `name` and a `spec`, a length and `[index]`. The rest has defaults: one that
    knows how many timesteps each episode has without reading it sets `lengths`, one that can read
    some timesteps without the rest overrides `window`, and then checks what it reads.

    Attributes:
        lengths: timesteps of each episode; None where every episode must be read to know.
        remarks: what a user should know of what was opened, a line each.
    """

    name: str
    spec: Spec
    lengths: Sequence[int] | np.ndarray | None = None
    remarks: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Episode: ...

    @property
    def num_demonstrations(self) -> int:
        """How many of its episodes, the first ones, show how it is done from beginning to end."""
        return len(self)

    @property
    def metric(self) -> Metric | None:
        """How texts that answer its episodes are scored; None where they are not."""
        return metric_of(self.spec)

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode."""
        return self.checked(index).window(start, stop)

    def checked(self, index: int) -> Episode:
        """Return an episode, validated when it is first asked for: nothing damaged passes.

        Raises:
            ValueError: from reading and for what does not fit the spec, naming source and episode.
        """
        episode = self[index]
        if (known := vars(self).get("_checked")) is None:
            known = vars(self)["_checked"] = np.zeros(len(self), np.bool_)
        if not known[index]:
            self._check(index, episode)
            known[index] = True
        return episode

    def question(self, index: int) -> tuple[str, str]:
        """Return an episode's question and answer; a source may know them without its picture."""
        episode = self[index]
        [answer] = episode.actions.values()
        return str(episode.observations["question"][0]), str(answer[0])

    def num_timesteps(self) -> Int[np.ndarray, " episodes"]:
        """Return the timesteps of each episode: as the source says, or counted."""
        known = self.lengths
        if known is None:
            known = [len(self.checked(i)) for i in range(len(self))]
        return np.asarray(known, np.int64)

    def probes(self) -> list[Episode]:
        """Return a few episodes from all over the source, the same ones every time."""
        picked = np.linspace(0, len(self) - 1, min(len(self), NUM_PROBES)).astype(int)
        return [self.checked(int(i)) for i in picked]

    def check_index(self, index: int) -> None:
        """Raise IndexError for an episode that is not there: a list ends where iteration does."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} episodes, no episode {index}")

    def _check(self, index: int, episode: Episode) -> None:
        where = f"source {self.name!r}, episode {index}"
        try:
            validate(episode, self.spec)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        known = self.lengths
        if known is not None and known[index] != len(episode):
            raise ValueError(
                f"{where}: {len(episode)} timesteps, but its source says {known[index]}"
            )


@dataclass(frozen=True, kw_only=True)
class EpisodeList(Source):
    """A source held in memory."""

    name: str
    spec: Spec
    episodes: Sequence[Episode] = field(repr=False)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Episode:
        return self.episodes[index]


class JoinedSource(Source):
    """Demonstrations with corrections behind them, as one source under the first one's name."""

    def __init__(self, demonstrations: Source, corrections: Sequence[Source]) -> None:
        self._parts = [demonstrations, *corrections]
        self.name, self.spec = demonstrations.name, demonstrations.spec
        self.remarks = tuple(line for part in self._parts for line in part.remarks)
        self.lengths = np.concatenate([part.num_timesteps() for part in self._parts])
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Episode:
        part, place = self._place(index)
        return part[place]

    @property
    def num_demonstrations(self) -> int:
        return len(self._parts[0])

    @property
    def metric(self) -> Metric | None:
        return self._parts[0].metric

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode."""
        part, place = self._place(index)
        return part.window(place, start, stop)

    def _place(self, index: int) -> tuple[Source, int]:
        self.check_index(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[number], index - (int(self._ends[number - 1]) if number else 0)


class WrappedSource(Source):
    """A source that reads its episodes from another one: subclasses change what they are for."""

    def __init__(self, source: Source) -> None:
        self.name, self.spec, self.lengths = source.name, source.spec, source.lengths
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Episode:
        return self._source[index]

    @property
    def metric(self) -> Metric | None:
        return self._source.metric

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode."""
        return self._source.window(index, start, stop)


class SomeEpisodes(WrappedSource):
    """An unbroken range of a source's episodes, as a source of the same name."""

    def __init__(self, source: Source, episodes: range) -> None:
        """Take those.

        Raises:
            ValueError: if there are fewer.
        """
        if episodes.stop > len(source):
            raise ValueError(f"{source.name} has {len(source)} episodes, not {episodes.stop}")
        super().__init__(source)
        self._episodes, self.remarks = episodes, source.remarks
        if source.lengths is not None:
            self.lengths = source.lengths[episodes.start : episodes.stop]

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Episode:
        self.check_index(index)
        return super().__getitem__(self._episodes[index])

    def window(self, index: int, start: int, stop: int) -> Episode:
        """Read the timesteps from `start` up to `stop` of an episode."""
        self.check_index(index)
        return super().window(self._episodes[index], start, stop)


def check_split(name: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that the source does not have.

    >>> check_split("emoji", "dev", ("train", "test"))
    Traceback (most recent call last):
    ValueError: emoji has no split 'dev'; its splits are train, test
    """
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(splits)}")


def similar(name: str, known: Sequence[str]) -> str:
    """Return the end of an error's message: which names are like this one, or which there are.

    >>> similar("atari-pongo", ["atari-alien", "atari-pong"]), similar("x", ["a", "b"])
    ('; did you mean atari-pong or atari-alien?', '; there are a, b')
    """
    if hint := did_you_mean(name, known, most=3, cutoff=0.5):
        return hint
    shown, more = sorted(known)[:5], len(known) - 5
    return f"; there are {', '.join([*shown, *([f'{more} more'] if more > 0 else [])])}" * bool(
        known
    )


def split_by_hash(key: bytes, percent: Mapping[str, int]) -> str:
    """Assign a key to a split: the same on every machine and whatever else is in the data.

    >>> percent = {"train": 90, "test": 10}
    >>> [split_by_hash(str(i).encode(), percent) for i in range(1000)].count("test")
    103
    """
    if sum(percent.values()) != 100:
        raise ValueError(f"shares must sum to 100 percent: {dict(percent)}")
    bucket = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % 100
    for split, share in percent.items():
        if bucket < share:
            return split
        bucket -= share
    raise AssertionError("the shares cover every bucket")
