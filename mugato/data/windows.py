"""From a source's episodes and documents to token sequences that fit the context (§2.1, §2.3).

A long episode gives a random span of whole timesteps; a document a random span of tokens. What to
take is sampled first, with the generator given, and costs little; it is encoded when it has found
its place in a batch. The same generator gives the same.

A share of the windows (the paper's is 25 %) begins with a *prompt*: timesteps of another episode of
the same source, so of the same task and expert, in the same segment. Half of the prompts are the
end of that episode, which shows the goal; half a span from anywhere. A prompt takes up to half of
the context. A share of them (the paper has none such) is as in acting: what the context still holds
of the other episode's beginning, then this one from its first timestep on. A prompt's timesteps are
like any others: they count on, and their actions are targets.

What grows with the data set: 8 bytes an episode for the windows that it has, 1 for whether it was
checked, and what the source itself keeps; of episodes with texts how many tokens come before each
timestep, up to `BOUNDS_BYTES`. Nothing is read at the start but lengths and a few episodes, where
the source knows its lengths; where it does not, and for documents, each is read once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mugato.data.cache import ByteCache
from mugato.data.source import Source
from mugato.episode import Episode
from mugato.spec import Leaf
from mugato.tokens.sequence import (
    TokenSequence,
    check_fits,
    check_observation_fits,
    encode,
    sequence,
)
from mugato.tokens.timesteps import text_timesteps, tokenize
from mugato.tokens.tokenizer import Tokenizer

# This share of the prompts is the end of an episode.
GOAL_SHARE = 0.5
# Of each document looked at to learn how many tokens a character has, so many characters.
PROBE_CHARACTERS = 4000
# How many tokens stand before each timestep, kept of some 100,000 episodes with texts.
BOUNDS_BYTES = 2**26
# Ids of documents that each source keeps: about 16 million tokens.
DOCUMENT_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class Span:
    """Timesteps of an episode, or tokens of a document, from `start` up to `stop`."""

    episode: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one sequence is made of, in order: a prompt, if any, comes first.

    Its length is that of the sequence, in tokens.
    """

    spans: tuple[Span, ...]
    num_tokens: int

    def __len__(self) -> int:
        return self.num_tokens


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How a source is cut.

    Attributes:
        context_length: tokens of the longest window.
        number: index of the source within the mixture.
        name: what the run calls the source; its own name where empty.
        acting_prompt_share: this share of the prompts is as in acting.
        prompt_share: this share of the windows of episodes begins with a prompt. A source of one
            episode gives none, nor one whose history is limited: the agent would not see them.
        history: timesteps after which the agent forgets everything; None where it sees all.
        history_dropout: this share of the tokens is of timesteps that stand alone, so that the
            agent learns to act on what it observes, not only on what it did before. A source whose
            history is limited has none.
    """

    context_length: int
    number: int = 0
    name: str = ""
    prompt_share: float = 0.0
    acting_prompt_share: float = 0.0
    history: int | None = None
    history_dropout: float = 0.0


class Windows(ABC):
    """A source cut into about `len` pieces of at most the context's length.

    Attributes:
        name: what the run calls the source; what goes wrong with its data says so.
        num_tokens: about how many the whole source has.
        target_density: share of its tokens that are targets, about.
    """

    num_tokens: int
    target_density: float = 1.0

    def __init__(self, source: Source, tokenizer: Tokenizer, config: WindowConfig) -> None:
        self.name = config.name or source.name
        self._source, self._tokenizer, self._number = source, tokenizer, config.number
        self._context_length = config.context_length

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item_of(self, index: int) -> int:
        """Return the episode or place that the piece of this number is drawn from."""

    @abstractmethod
    def sample(self, item: int, generator: np.random.Generator) -> Window:
        """Draw a window from an episode or place."""

    @abstractmethod
    def encode(self, window: Window) -> TokenSequence:
        """Read a window and turn it into tokens."""

    def _episode(self, index: int) -> Episode:
        with called(self.name, self._source):
            return self._source.checked(index)


def windows_of(source: Source, tokenizer: Tokenizer, config: WindowConfig) -> Windows:
    """Make the windows that suit a source: plain text has no observation to keep whole.

    Raises:
        ValueError: for a source without episodes, or timesteps that the context cannot hold.
    """
    if len(source) == 0:
        raise ValueError(f"source {config.name or source.name!r} has no episodes")
    kind = EpisodeWindows if source.spec.observation_leaves else TextWindows
    with called(config.name, source):
        return kind(source, tokenizer, config)


@contextmanager
def called(name: str, source: Source | None = None) -> Iterator[None]:
    """Add to what goes wrong with a source by which name the run knows it, if by another."""
    try:
        yield
    except ValueError as error:
        if name == "" or (source and name == source.name) or repr(name) in str(error):
            raise
        raise ValueError(f"data set {name!r}: {error}") from error


class EpisodeWindows(Windows):
    """Spans of whole timesteps of single episodes."""

    def __init__(self, source: Source, tokenizer: Tokenizer, config: WindowConfig) -> None:
        super().__init__(source, tokenizer, config)
        self._spec, self._history = source.spec, config.history
        self._text_bounds = ByteCache(max_bytes=BOUNDS_BYTES)
        self._prompt_share = (
            config.prompt_share if source.num_demonstrations > 1 and not self._history else 0.0
        )
        self._acting_prompt_share = config.acting_prompt_share
        self._observed_texts, self._acted_texts = (
            [path for path, leaf in leaves.items() if leaf.kind == "text"]
            for leaves in (self._spec.observation_leaves, self._spec.action_leaves)
        )
        # Tokens without those of texts; an observation's separator is one.
        self._per_observation, self._per_action = (
            sum(self._num_tokens(path, leaf) for path, leaf in leaves.items())
            for leaves in (self._spec.observation_leaves, self._spec.action_leaves)
        )
        self._per_observation += 1
        self._per_timestep = self._per_observation + self._per_action
        self._check_fits(
            np.array([self._per_observation]), np.array([self._per_action]), "every episode"
        )
        self._lengths = source.num_timesteps()
        observed, acted = self._mean_tokens()
        self.target_density = acted / (observed + acted)
        tokens = self._lengths * (observed + acted)
        self.num_tokens = round(tokens.sum())
        of_length = (
            self._lengths / self._history if self._history else tokens / config.context_length
        )
        self._ends = np.cumsum(np.ceil(of_length).astype(np.int64))
        # As windows, not tokens: of those that stand alone it takes more.
        alone = 0.0 if self._history else config.history_dropout / (observed + acted)
        whole = (1 - config.history_dropout) / np.minimum(tokens, config.context_length).mean()
        self._alone_share = alone / (alone + whole)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def item_of(self, index: int) -> int:
        return int(np.searchsorted(self._ends, index, side="right"))

    def sample(self, item: int, generator: np.random.Generator) -> Window:
        """Draw a span of timesteps of an episode, as long as the context allows.

        Where the history is limited the span is one history long: more would be other segments, and
        timesteps from many episodes teach more than neighbors from one. Where it is dropped the
        span is one timestep.
        """
        bounds = self._bounds(item)
        if self._alone_share and generator.random() < self._alone_share:
            start = int(generator.integers(len(bounds) - 1))
            span = Span(episode=item, start=start, stop=start + 1)
            return Window(spans=(span,), num_tokens=int(bounds[start + 1] - bounds[start]))
        prompt: tuple[Span, ...] = ()
        room = self._context_length
        if self._prompt_share and generator.random() < self._prompt_share:
            if self._acting_prompt_share and generator.random() < self._acting_prompt_share:
                return self._as_acting(item, bounds, generator)
            prompt, taken = self._prompt(item, generator)
            if room - taken >= np.diff(bounds).max():
                room -= taken
            else:
                prompt = ()
        span = self._span(item, bounds, room, generator)
        taken = self._context_length - room
        return Window(
            spans=(*prompt, span), num_tokens=taken + int(bounds[span.stop] - bounds[span.start])
        )

    def encode(self, window: Window) -> TokenSequence:
        """Read the prompt's timesteps and then those of the window, as one sequence."""
        with called(self.name, self._source):
            pieces = [self._source.window(s.episode, s.start, s.stop) for s in window.spans]
        joined = pieces[0] if len(pieces) == 1 else Episode.joined(pieces)
        return encode(
            joined, self._spec, self._tokenizer, history=self._history, source=self._number
        )

    def _prompt(self, item: int, generator: np.random.Generator) -> tuple[tuple[Span, ...], int]:
        """Draw a span of another episode; none where no timestep fits half the context."""
        other = self._other(item, generator)
        bounds, room = self._bounds(other), self._context_length // 2
        at_end = generator.random() < GOAL_SHARE
        span = self._span(other, bounds, room, generator, at_end=at_end)
        if span.stop <= span.start:
            return (), 0
        return (span,), int(bounds[span.stop] - bounds[span.start])

    def _as_acting(self, item: int, bounds: np.ndarray, generator: np.random.Generator) -> Window:
        """Draw how far an agent has come that was shown the beginning of another episode.

        It read as much of that as the context holds; the oldest of it is forgotten by now.
        """
        length = self._context_length
        fits = int(np.searchsorted(bounds, length, side="right")) - 1
        stop = 1 + int(generator.integers(fits))
        taken = int(bounds[stop])
        other = self._other(item, generator)
        shown = self._bounds(other)
        end = int(np.searchsorted(shown, length, side="right")) - 1
        start = int(np.searchsorted(shown, shown[end] - (length - taken)))
        spans = [Span(episode=item, start=0, stop=stop)]
        if start < end:
            spans.insert(0, Span(episode=other, start=start, stop=end))
            taken += int(shown[end] - shown[start])
        return Window(spans=tuple(spans), num_tokens=taken)

    def _other(self, item: int, generator: np.random.Generator) -> int:
        """Draw another episode to be shown: one that an agent drove shows nothing."""
        shown = self._source.num_demonstrations
        other = int(generator.integers(shown - (item < shown)))
        return other + (other >= item)

    def _span(
        self,
        item: int,
        bounds: np.ndarray,
        room: int,
        generator: np.random.Generator,
        *,
        at_end: bool = False,
    ) -> Span:
        """Take timesteps of at most `room` tokens, from anywhere or up to the end."""
        # The first start from which the span reaches the end: later ones would waste context.
        last = int(np.searchsorted(bounds[:-1], bounds[-1] - room))
        if self._history:
            last = max(last, len(bounds) - 1 - self._history)
        start = last if at_end else int(generator.integers(last + 1))
        stop = int(np.searchsorted(bounds, bounds[start] + room, side="right")) - 1
        if self._history:
            stop = min(stop, start + self._history)
        return Span(episode=item, start=start, stop=stop)

    def _bounds(self, item: int) -> np.ndarray:
        """Count the tokens before each timestep of an episode, and before its end."""
        if not self._observed_texts and not self._acted_texts:
            return np.arange(self._lengths[item] + 1) * self._per_timestep
        return self._text_bounds.get(item, lambda: self._read_bounds(item))

    def _read_bounds(self, item: int) -> np.ndarray:
        observed, acted = self._counts(self._episode(item))
        self._check_fits(observed, acted, f"episode {item}")
        return np.concatenate([[0], np.cumsum(observed + acted)])

    def _num_tokens(self, path: str, leaf: Leaf) -> int:
        """Count the tokens of a leaf; 0 where they differ."""
        try:
            return self._tokenizer.num_tokens(leaf) or 0
        except ValueError as error:
            raise ValueError(f"source {self.name!r}, {path!r}: {error}") from None

    def _check_fits(self, observed: np.ndarray, acted: np.ndarray, where: str) -> None:
        name = f"source {self.name!r}, {where}"
        check_fits(observed + acted, context_length=self._context_length, name=name)
        check_observation_fits(int(observed.max()), name=f"{name}: an observation")

    def _counts(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """Count the tokens of each timestep's observation, separator included, and action."""
        observed = np.full(len(episode), self._per_observation)
        acted = np.full(len(episode), self._per_action)
        for counts, paths, values, closing in (
            (observed, self._observed_texts, episode.observations, 0),
            (acted, self._acted_texts, episode.actions, 1),  # the end-of-text id
        ):
            for path in paths:
                texts = values[path]
                sizes = {text: len(self._tokenizer.text.encode(str(text))) for text in set(texts)}
                counts += [sizes[text] + closing for text in texts]
        return observed, acted

    def _mean_tokens(self) -> tuple[float, float]:
        """Return the mean number of tokens of a timestep's observation, and of its action."""
        if not self._observed_texts and not self._acted_texts:
            return float(self._per_observation), float(self._per_action)
        observed, acted = zip(*(self._counts(e) for e in self._source.probes()), strict=True)
        return float(np.concatenate(observed).mean()), float(np.concatenate(acted).mean())


class TextWindows(Windows):
    """Spans of tokens of all documents in one stream, each document closed by end-of-text.

    Places are counted in characters, so that a document becomes tokens only when it is drawn. After
    the last document comes the first.
    """

    def __init__(self, source: Source, tokenizer: Tokenizer, config: WindowConfig) -> None:
        super().__init__(source, tokenizer, config)
        characters = [_num_characters(source.checked(i)) for i in range(len(source))]
        self._ends = np.cumsum(1 + np.array(characters))
        self._ids = ByteCache(max_bytes=DOCUMENT_BYTES)
        self.num_tokens = max(1, round(int(self._ends[-1]) * self._tokens_per_character()))

    def __len__(self) -> int:
        return -(-self.num_tokens // self._context_length)

    def item_of(self, index: int) -> int:
        return index * int(self._ends[-1]) // len(self)

    def sample(self, item: int, generator: np.random.Generator) -> Window:
        """Draw a span of the context's length that begins within one length of a character."""
        total = int(self._ends[-1])
        place = min(item + int(generator.integers(-(-total // len(self)))), total - 1)
        document = int(np.searchsorted(self._ends, place, side="right"))
        begin = int(self._ends[document - 1]) if document else 0
        num_ids = len(self._document(document))
        start = (place - begin) * num_ids // (int(self._ends[document]) - begin)
        spans, missing, first = [], self._context_length, (document, start)
        while missing > 0:
            num_ids = len(self._document(document))
            again = bool(spans) and document == first[0]  # once around, the stream is used up
            stop = min(start + missing, first[1] if again else num_ids)
            spans.append(Span(episode=document, start=start, stop=stop))
            missing -= stop - start
            if again:
                break
            document, start = (document + 1) % len(self._source), 0
        return Window(spans=tuple(spans), num_tokens=self._context_length - missing)

    def encode(self, window: Window) -> TokenSequence:
        ids = [self._document(span.episode)[span.start : span.stop] for span in window.spans]
        timesteps = text_timesteps(np.concatenate(ids))
        return sequence(timesteps, self._tokenizer.vocab, source=self._number)

    def _document(self, index: int) -> np.ndarray:
        return self._ids.get(index, lambda: self._tokenized(self._episode(index)))

    def _tokenized(self, episode: Episode) -> np.ndarray:
        leaves = tokenize(episode, self._source.spec, self._tokenizer).actions.values()
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
