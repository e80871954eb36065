"""The only table of token-id ranges (Reed et al. 2022, §2.1).

With the paper's 32,000 text pieces: text 0-31999, continuous 32000-33023, discrete 33024-34047,
separator 34048. Another text vocabulary shifts the ranges that follow it. The paper itself lets
discrete values share the first ids with text; `discrete_overlaps_text` restores that.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Vocab:
    """Which ids mean what.

    >>> vocab = Vocab()
    >>> vocab.text, vocab.continuous, vocab.discrete, vocab.separator
    (range(0, 32000), range(32000, 33024), range(33024, 34048), 34048)
    >>> paper = Vocab(discrete_overlaps_text=True)
    >>> paper.discrete, paper.separator, paper.size
    (range(0, 1024), 33024, 33025)
    """

    num_text: int = 32_000
    num_continuous: int = 1024
    num_discrete: int = 1024
    discrete_overlaps_text: bool = False

    def __post_init__(self) -> None:
        for name in ("num_text", "num_continuous", "num_discrete"):
            if getattr(self, name) < 1:
                raise ValueError(f"vocab.{name} must be at least 1, got {getattr(self, name)}")
        if self.discrete_overlaps_text and self.num_discrete > self.num_text:
            raise ValueError(
                f"{self.num_discrete} discrete values cannot share {self.num_text} text ids"
            )

    @property
    def text(self) -> range:
        return range(self.num_text)

    @property
    def continuous(self) -> range:
        return range(self.num_text, self.num_text + self.num_continuous)

    @property
    def discrete(self) -> range:
        start = 0 if self.discrete_overlaps_text else self.continuous.stop
        return range(start, start + self.num_discrete)

    @property
    def separator(self) -> int:
        return max(self.continuous.stop, self.discrete.stop)

    @property
    def size(self) -> int:
        return self.separator + 1
