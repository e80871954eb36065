"""Where episodes come from: the one interface of all data, and what its sources share.

A source is a named, finite, randomly accessible list of episodes with one spec. It knows nothing of
tokens, weights or batches. Every opener takes its split by name: nothing is split implicitly.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mugato.episode import Episode
from mugato.spec import TEXT_LEAF, Spec

# Of documents: an action without observation.
TEXT_SPEC = Spec(observation={}, action={"text": TEXT_LEAF})


@runtime_checkable
class Source(Protocol):
    """A list of episodes that share a spec; `source[i]` is cheap and gives the same every time.

    One that knows how many timesteps each episode has without reading it says so in an attribute
    `lengths`; of the others every episode is read before training begins. One that can read some
    timesteps of an episode without the rest has a method `window(index, start, stop)`, which checks
    what it read against the spec.
    """

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> Spec: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Episode: ...


@dataclass(frozen=True, kw_only=True)
class EpisodeList:
    """A source held in memory."""

    name: str
    spec: Spec
    episodes: Sequence[Episode] = field(repr=False)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Episode:
        return self.episodes[index]


def check_split(name: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that the source does not have.

    >>> check_split("emoji", "dev", ("train", "test"))
    Traceback (most recent call last):
    ValueError: emoji has no split 'dev'; its splits are train, test
    """
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; its splits are {', '.join(splits)}")


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
