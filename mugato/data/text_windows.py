"""Windows of plain text: runs of tokens of all documents in one stream (§2.1)."""

import numpy as np

from mugato.data.cache import ByteCache
from mugato.data.checked_source import CheckedSource
from mugato.data.window import Run, Window
from mugato.episode import Episode
from mugato.tokens.sequence import TokenSequence, sequence
from mugato.tokens.timesteps import text_timesteps, tokenize
from mugato.tokens.tokenizer import Tokenizer

# Of each document looked at to learn how many tokens a character has, so many characters.
PROBE_CHARACTERS = 4000
# Ids of documents that each source keeps: about 16 million tokens.
DOCUMENT_BYTES = 2**26


class TextWindows:
    """Runs of tokens of all documents in one stream, each document closed by end-of-text.

    Places are counted in characters, so that a document becomes tokens only when it is drawn. After
    the last document comes the first.
    """

    def __init__(
        self, source: CheckedSource, tokenizer: Tokenizer, *, context_length: int, number: int
    ) -> None:
        self.name, self._spec = source.source.name, source.source.spec
        self._source, self._tokenizer, self._number = source, tokenizer, number
        self._length = context_length
        self._ends = np.cumsum([1 + _num_characters(source[i]) for i in range(len(source))])
        self._ids = ByteCache(max_bytes=DOCUMENT_BYTES)
        self.num_tokens = max(1, round(int(self._ends[-1]) * self._tokens_per_character()))

    def __len__(self) -> int:
        return -(-self.num_tokens // self._length)

    def item(self, index: int) -> int:
        return index * int(self._ends[-1]) // len(self)

    def choose(self, item: int, generator: np.random.Generator) -> Window:
        """A run of the context's length that begins within one length of character `item`."""
        total = int(self._ends[-1])
        place = min(item + int(generator.integers(-(-total // len(self)))), total - 1)
        document = int(np.searchsorted(self._ends, place, side="right"))
        begin = int(self._ends[document - 1]) if document else 0
        num_ids = len(self._document(document))
        start = (place - begin) * num_ids // (int(self._ends[document]) - begin)
        runs, missing, first = [], self._length, (document, start)
        while missing > 0:
            num_ids = len(self._document(document))
            again = bool(runs) and document == first[0]  # once around, the stream is used up
            stop = min(start + missing, first[1] if again else num_ids)
            runs.append(Run(episode=document, start=start, stop=stop))
            missing -= stop - start
            if again:
                break
            document, start = (document + 1) % len(self._source), 0
        return Window(runs=tuple(runs), num_tokens=self._length - missing)

    def encode(self, window: Window) -> TokenSequence:
        ids = [self._document(run.episode)[run.start : run.stop] for run in window.runs]
        timesteps = text_timesteps(np.concatenate(ids))
        return sequence(timesteps, self._tokenizer.vocab, source=self._number)

    def _document(self, index: int) -> np.ndarray:
        return self._ids.get(index, lambda: self._tokenized(self._source[index]))

    def _tokenized(self, episode: Episode) -> np.ndarray:
        leaves = tokenize(episode, self._spec, self._tokenizer).actions.values()
        return np.concatenate([leaf.tokens[0, :, 0] for leaf in leaves])

    def _tokens_per_character(self) -> float:
        characters = tokens = 0
        for episode in self._source.probes():
            for text in (str(values[0]) for values in episode.actions.values()):
                begin = text[:PROBE_CHARACTERS]
                characters += 1 + len(begin)
                tokens += 1 + len(self._tokenizer.text.encode(begin))
        return tokens / characters


def _num_characters(episode: Episode) -> int:
    return sum(len(str(values[0])) for values in episode.actions.values())
