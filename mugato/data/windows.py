"""From a source's episodes and documents to token sequences that fit the context (§2.1, §2.3).

A long episode gives a random run of whole timesteps; a document a random run of tokens. Everything
is drawn anew each time that it is asked for, with the generator given.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from mugato.data.source import Source
from mugato.episode import Episode
from mugato.sequence import TokenSequence, check_fits, encode, sequence
from mugato.timesteps import text_timesteps, tokenize
from mugato.tokenizers.tokenizer import Tokenizer


@runtime_checkable
class Windows(Protocol):
    """A source cut into about `len` pieces of at most the context's length."""

    name: str

    def __len__(self) -> int: ...

    def item(self, index: int) -> int:
        """Which episode or place the piece of this number is drawn from."""
        ...

    def draw(self, item: int, generator: np.random.Generator) -> TokenSequence: ...


def windows_of(
    source: Source, tokenizer: Tokenizer, *, context_length: int, number: int
) -> Windows:
    """The kind of windows that suits a source: plain text has no observation to keep whole."""
    if source.spec.observation_leaves:
        return EpisodeWindows(source, tokenizer, context_length=context_length, number=number)
    return TextWindows(source, tokenizer, context_length=context_length, number=number)


class EpisodeWindows:
    """Runs of whole timesteps of single episodes."""

    def __init__(
        self, source: Source, tokenizer: Tokenizer, *, context_length: int, number: int
    ) -> None:
        self.name = source.name
        self._source, self._tokenizer = source, tokenizer
        self._context_length, self._number = context_length, number
        self._history = source.spec.history
        self._texts = [
            p for p, leaf in source.spec.observation_leaves.items() if leaf.kind == "text"
        ]
        self._per_timestep = 1 + sum(
            tokenizer.num_tokens(leaf) or 0
            for leaves in (source.spec.observation_leaves, source.spec.action_leaves)
            for leaf in leaves.values()
        )
        sizes = [self._num_windows(source[i]) for i in range(len(source))]
        self._episode_of = np.repeat(np.arange(len(source)), sizes)

    def __len__(self) -> int:
        return len(self._episode_of)

    def item(self, index: int) -> int:
        return int(self._episode_of[index])

    def draw(self, item: int, generator: np.random.Generator) -> TokenSequence:
        """A random run of timesteps of episode `item`, as long as the context allows.

        Where the history is limited the run is one history long: more would be other segments, and
        timesteps from many episodes teach more than neighbors from one.
        """
        episode = self._source[item]
        counts = self._counts(episode)
        check_fits(counts, context_length=self._context_length, name=episode.name)
        ends = np.cumsum(counts)
        # The first start from which the window reaches the end: later ones would waste context.
        last = int(np.searchsorted(ends - counts, ends[-1] - self._context_length))
        if self._history:
            last = max(last, len(episode) - self._history)
        start = int(generator.integers(last + 1))
        before = ends[start] - counts[start]
        stop = int(np.searchsorted(ends, before + self._context_length, side="right"))
        if self._history:
            stop = min(stop, start + self._history)
        window = episode.window(start, stop)
        return encode(window, self._source.spec, self._tokenizer, source=self._number)

    def _counts(self, episode: Episode) -> np.ndarray:
        """Tokens of each timestep."""
        counts = np.full(len(episode), self._per_timestep)
        spec, encode = self._source.spec, self._tokenizer.text.encode
        for path in self._texts:
            counts += [len(encode(str(text))) for text in episode.observations[path]]
        for path, leaf in spec.action_leaves.items():
            if leaf.kind == "text":  # closed by the end-of-text id
                counts += [len(encode(str(text))) + 1 for text in episode.actions[path]]
        return counts

    def _num_windows(self, episode: Episode) -> int:
        if self._history:
            return -(-len(episode) // self._history)
        return -(-int(self._counts(episode).sum()) // self._context_length)


class TextWindows:
    """Runs of tokens of all documents in one stream, each document closed by end-of-text."""

    def __init__(
        self, source: Source, tokenizer: Tokenizer, *, context_length: int, number: int
    ) -> None:
        self.name = source.name
        self._vocab, self._length, self._number = tokenizer.vocab, context_length, number
        documents = (tokenize(source[i], source.spec, tokenizer) for i in range(len(source)))
        self._ids = np.concatenate(
            [leaf.tokens[0, :, 0] for document in documents for leaf in document.actions.values()]
        )

    def __len__(self) -> int:
        return -(-len(self._ids) // self._length)

    def item(self, index: int) -> int:
        return index * self._length

    def draw(self, item: int, generator: np.random.Generator) -> TokenSequence:
        """A run of the context's length that begins within one length of token `item`."""
        last = max(0, len(self._ids) - self._length)
        start = min(item + int(generator.integers(self._length)), last)
        ids = self._ids[start : start + self._length]
        return sequence(text_timesteps(ids), self._vocab, source=self._number)
