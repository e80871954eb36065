"""What a window is, and who gives them: chosen at little cost, encoded when it is used."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mugato.tokens.sequence import TokenSequence


@dataclass(frozen=True, kw_only=True)
class Run:
    """Timesteps of an episode, or tokens of a document, from `start` up to `stop`."""

    episode: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one sequence is made of, in order: a prompt, if any, comes first.

    Its length is that of the sequence, in tokens.
    """

    runs: tuple[Run, ...]
    num_tokens: int

    def __len__(self) -> int:
        return self.num_tokens


@runtime_checkable
class Windows(Protocol):
    """A source cut into about `len` pieces of at most the context's length.

    Attributes:
        name: of the source.
        num_tokens: about how many the whole source has.
    """

    name: str
    num_tokens: int

    def __len__(self) -> int: ...

    def item(self, index: int) -> int:
        """Which episode or place the piece of this number is drawn from."""
        ...

    def choose(self, item: int, generator: np.random.Generator) -> Window: ...

    def encode(self, window: Window) -> TokenSequence: ...
