"""Windows of episodes: runs of whole timesteps, some after a prompt (§2.3).

A share of the windows (the paper's is 25 %) begins with a *prompt*: timesteps of another episode of
the same source, so of the same task and expert, in the same segment. Half of the prompts are the
end of that episode, which shows the goal; half a run from anywhere. A prompt takes up to half of
the context. Its timesteps are like any others: they count on, and their actions are targets.

A source of one episode gives no prompts, nor one whose history is limited: such an agent would not
see them. Where not one whole timestep of both fits, the window goes without.
"""

import numpy as np

from mugato.data.checked_source import CheckedSource
from mugato.data.window import Run, Window
from mugato.episode import Episode
from mugato.spec import Leaf
from mugato.tokens.sequence import TokenSequence, check_fits, check_observation_fits, encode
from mugato.tokens.tokenizer import Tokenizer

# Of prompts, that many are the end of an episode.
GOAL_SHARE = 0.5


class EpisodeWindows:
    """Runs of whole timesteps of single episodes."""

    def __init__(
        self,
        source: CheckedSource,
        tokenizer: Tokenizer,
        *,
        context_length: int,
        number: int,
        prompt_share: float,
        history: int | None,
    ) -> None:
        self.name, self._spec = source.source.name, source.source.spec
        self._source, self._tokenizer, self._number = source, tokenizer, number
        self._context_length, self._history = context_length, history
        self._prompt_share = prompt_share if len(source) > 1 and not self._history else 0.0
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
        self._lengths = source.lengths()
        tokens = self._lengths * self._mean_tokens()
        self.num_tokens = round(tokens.sum())
        of_length = self._lengths / self._history if self._history else tokens / context_length
        self._ends = np.cumsum(np.ceil(of_length).astype(np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def item(self, index: int) -> int:
        return int(np.searchsorted(self._ends, index, side="right"))

    def choose(self, item: int, generator: np.random.Generator) -> Window:
        """A random run of timesteps of episode `item`, as long as the context allows.

        Where the history is limited the run is one history long: more would be other segments, and
        timesteps from many episodes teach more than neighbors from one.
        """
        bounds = self._bounds(item)
        prompt: tuple[Run, ...] = ()
        room = self._context_length
        if self._prompt_share and generator.random() < self._prompt_share:
            prompt, taken = self._prompt(item, generator)
            if room - taken >= np.diff(bounds).max():
                room -= taken
            else:
                prompt = ()
        run = self._run(item, bounds, room, generator)
        taken = self._context_length - room
        return Window(
            runs=(*prompt, run), num_tokens=taken + int(bounds[run.stop] - bounds[run.start])
        )

    def encode(self, window: Window) -> TokenSequence:
        """The prompt's timesteps and then those of the window, as one run of timesteps."""
        pieces = [self._source.window(run.episode, run.start, run.stop) for run in window.runs]
        joined = pieces[0] if len(pieces) == 1 else Episode.joined(pieces)
        return encode(
            joined, self._spec, self._tokenizer, history=self._history, source=self._number
        )

    def _prompt(self, item: int, generator: np.random.Generator) -> tuple[tuple[Run, ...], int]:
        """A run of another episode and its tokens; none where no timestep fits half the context."""
        other = int(generator.integers(len(self._source) - 1))
        other += other >= item
        bounds, room = self._bounds(other), self._context_length // 2
        at_end = generator.random() < GOAL_SHARE
        run = self._run(other, bounds, room, generator, at_end=at_end)
        if run.stop <= run.start:
            return (), 0
        return (run,), int(bounds[run.stop] - bounds[run.start])

    def _run(
        self,
        item: int,
        bounds: np.ndarray,
        room: int,
        generator: np.random.Generator,
        *,
        at_end: bool = False,
    ) -> Run:
        """Timesteps that take at most `room` tokens, from anywhere or up to the end."""
        # The first start from which the run reaches the end: later ones would waste context.
        last = int(np.searchsorted(bounds[:-1], bounds[-1] - room))
        if self._history:
            last = max(last, len(bounds) - 1 - self._history)
        start = last if at_end else int(generator.integers(last + 1))
        stop = int(np.searchsorted(bounds, bounds[start] + room, side="right")) - 1
        if self._history:
            stop = min(stop, start + self._history)
        return Run(episode=item, start=start, stop=stop)

    def _bounds(self, item: int) -> np.ndarray:
        """Tokens before each timestep of an episode, and before its end."""
        if not self._observed_texts and not self._acted_texts:
            return np.arange(self._lengths[item] + 1) * self._per_timestep
        observed, acted = self._counts(self._source[item])
        self._check_fits(observed, acted, f"episode {item}")
        return np.concatenate([[0], np.cumsum(observed + acted)])

    def _num_tokens(self, path: str, leaf: Leaf) -> int:
        """Tokens of a leaf; 0 where they differ."""
        try:
            return self._tokenizer.num_tokens(leaf) or 0
        except ValueError as error:
            raise ValueError(f"source {self.name!r}, {path!r}: {error}") from None

    def _check_fits(self, observed: np.ndarray, acted: np.ndarray, where: str) -> None:
        name = f"source {self.name!r}, {where}"
        check_fits(observed + acted, context_length=self._context_length, name=name)
        check_observation_fits(int(observed.max()), name=f"{name}: an observation")

    def _counts(self, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each timestep's observation, separator included, and of its action."""
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

    def _mean_tokens(self) -> float:
        """Of a timestep."""
        if not self._observed_texts and not self._acted_texts:
            return float(self._per_timestep)
        return float(np.concatenate([sum(self._counts(e)) for e in self._source.probes()]).mean())
