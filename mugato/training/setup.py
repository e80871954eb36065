"""From a config to what the loop needs: sources, tokenizer, mixture, model."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from mugato.agent import Agent, AgentTask, read_tokenizer_and_tasks
from mugato.data.formats.minari.read import open_minari
from mugato.data.mixture import Mixture
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.data.windows import windows_of
from mugato.episode import Episode
from mugato.model.gato import Gato
from mugato.spec import Spec
from mugato.tasks.registry import TASKS
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from mugato.training.config import TrainConfig

# Episodes looked at per source when a text tokenizer is trained: missions and questions repeat,
# documents are few and long.
MAX_TEXTS = 4000
# Timesteps of each looked at: what a game tells changes as it goes on.
MAX_TEXTS_OF_EPISODE = 8
# A run without any text gets a tokenizer of its bytes and of the letters in this.
SOME_TEXT = "the quick brown fox jumps over the lazy dog"
MIN_PIECES = 290


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """A source under the name that the run knows it by: a task's, or as `--sources` has it."""

    name: str
    source: Source
    spec: Spec

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Episode:
        return self.source[index]

    @property
    def lengths(self) -> Sequence[int] | None:
        """Timesteps of each episode, if the source knows them."""
        return getattr(self.source, "lengths", None)

    @property
    def window(self) -> Callable[[int, int, int], Episode] | None:
        """Reads some timesteps of an episode without the rest, if the source can."""
        return getattr(self.source, "window", None)


def open_sources(config: TrainConfig) -> dict[str, Source]:
    """Open all demonstrations and named sources of a run, by name."""
    sources: dict[str, Source] = {}
    for task in config.tasks:
        dataset_id = config.demonstrations.get(task)
        if dataset_id is None:
            if task not in TASKS:
                raise ValueError(
                    f"{task!r} is not one of our tasks: name its data set with --demonstrations"
                )
            dataset_id = TASKS[task].dataset_id
        sources[task] = _named(task, open_minari(dataset_id))
    for name in config.sources:
        source = open_source(name, config.splits.get(name, "train"))
        sources[name] = _named(name, source)
    return sources


def _named(name: str, source: Source) -> Named:
    return Named(name=name, source=source, spec=source.spec)


def agent_tasks(config: TrainConfig, sources: Mapping[str, Source]) -> dict[str, AgentTask]:
    """Return each source as the agent is trained on it, by name."""
    return {
        name: AgentTask(spec=source.spec, history=config.history.get(name))
        for name, source in sources.items()
    }


def make_tokenizer(config: TrainConfig, sources: Mapping[str, Source]) -> Tokenizer:
    """The run's tokenizer: trained on its own text, or the paper's 32,000 pieces."""
    pieces = config.tokenizer.text_pieces
    text = TextTokenizer.paper() if pieces is None else _train_text(training_texts(sources), pieces)
    vocab = dataclasses.replace(config.model.vocab, num_text=text.num_pieces)
    image = ImageTokenizer(patch_px=config.model.patch_px, max_patches=config.tokenizer.max_patches)
    return Tokenizer(text=text, vocab=vocab, image=image)


def saved_tokenizer(config: TrainConfig, sources: Mapping[str, Source]) -> Tokenizer:
    """The tokenizer of a run that goes on: its weights know no other, whatever its data is now.

    Raises:
        ValueError: no agent in the run's folder, or one of other sources, in another order, or of
            sources that looked otherwise.
    """
    tokenizer, saved = read_tokenizer_and_tasks(config.run)
    if list(saved) != list(sources):
        raise ValueError(
            f"cannot resume {config.run}: it was trained on {list(saved)}, not on {list(sources)}"
        )
    for name, task in agent_tasks(config, sources).items():
        if task != saved[name]:
            raise ValueError(
                f"cannot resume {config.run}: the spec of {name!r} was {saved[name]}, but is now "
                f"{task}"
            )
    return tokenizer


def make_mixture(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> Mixture:
    """The stream of batches."""
    length = config.model.context_length
    windows = [
        windows_of(
            source, tokenizer, context_length=length, number=number,
            prompt_share=config.prompt_share if name in config.tasks or is_control(source) else 0.0,
            history=config.history.get(name),
        )
        for number, (name, source) in enumerate(sources.items())
    ]  # fmt: skip
    weights = config.weights
    if not isinstance(weights, str):
        weights = {name: weights.get(name, 1.0) for name in sources}
    return Mixture(
        windows,
        weights=weights,
        num_rows=config.batch_rows,
        row_length=length,
        num_parts=config.batch_parts,
        seed=config.seed,
    )


def is_control(source: Source) -> bool:
    """Whether its actions drive something: those of captions, questions and text are text alone."""
    return any(leaf.kind != "text" for leaf in source.spec.action_leaves.values())


def make_agent(config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer) -> Agent:
    """Fresh weights under the run's seed."""
    torch.manual_seed(config.seed)
    model = Gato(dataclasses.replace(config.model, vocab=tokenizer.vocab))
    return Agent(model=model, tokenizer=tokenizer, tasks=agent_tasks(config, sources))


def training_texts(sources: Mapping[str, Source]) -> Iterator[str]:
    """What a text tokenizer is trained on: distinct texts of each episode, as they appear."""
    for source in sources.values():
        observed, acted = (
            [path for path, leaf in leaves.items() if leaf.kind == "text"]
            for leaves in (source.spec.observation_leaves, source.spec.action_leaves)
        )
        stride = max(1, len(source) // MAX_TEXTS)
        for i in range(0, len(source), stride) if observed or acted else ():
            episode = source[i]
            for path in observed:
                yield from _distinct(episode.observations[path])
            for path in acted:
                yield from _distinct(episode.actions[path])


def _train_text(texts: Iterable[str], num_pieces: int) -> TextTokenizer:
    """Pieces learned from the run's own text; fewer where it is too little for so many."""
    texts = [*texts, SOME_TEXT]
    while True:
        try:
            return TextTokenizer.train(texts, num_pieces=num_pieces)
        except ValueError:
            if num_pieces <= MIN_PIECES:
                raise
            num_pieces = max(MIN_PIECES, int(0.95 * num_pieces))


def _distinct(texts: Sequence[str] | np.ndarray) -> Iterator[str]:
    """The texts of some timesteps, the first one's among them, each once."""
    stride = max(1, -(-len(texts) // MAX_TEXTS_OF_EPISODE))
    return iter(dict.fromkeys(map(str, texts[::stride])))
