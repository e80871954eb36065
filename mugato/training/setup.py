"""From a config to what the loop needs: sources, tokenizer, mixture, model."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from mugato.agent import Agent, AgentTask, agent_folder, read_tokenizer_and_tasks
from mugato.data.cache import MemoryBudget
from mugato.data.config import DatasetConfig
from mugato.data.formats.minari.read import dataset_folder, open_minari
from mugato.data.mixture import Mixture
from mugato.data.registry import open_source
from mugato.data.round_trip import sample_warnings
from mugato.data.scaling import ScaledSource
from mugato.data.source import JoinedSource, SomeEpisodes, Source
from mugato.data.windows import WindowConfig, Windows, called, windows_of
from mugato.model.config import GatoConfig
from mugato.model.foreign import is_foreign, take_weights
from mugato.model.gato import Gato, read_sizes
from mugato.spec import spec_of
from mugato.tasks.compatibility import check_compatible
from mugato.tasks.environment import opened
from mugato.tasks.registry import TASKS
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.other_text import read_text_tokenizer
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from mugato.training.config import TokenizerConfig, TrainConfig
from mugato.training.run_info import is_task, read_config, task_of

# Episodes looked at per source when a text tokenizer is trained: missions and questions repeat,
# documents are few and long.
MAX_TEXTS = 4000
# Timesteps of each looked at: what a game tells changes as it goes on.
MAX_TEXTS_OF_EPISODE = 8
# A run without any text gets a tokenizer of its bytes and of the letters in this.
SOME_TEXT = "the quick brown fox jumps over the lazy dog"
MIN_PIECES = 290


def open_sources(datasets: Sequence[DatasetConfig]) -> dict[str, Source]:
    """Open all data sets of a run, by name; raises as `open_parts`."""
    return open_parts(datasets, held_out=0.0)[0]


def open_parts(
    datasets: Sequence[DatasetConfig], *, held_out: float
) -> tuple[dict[str, Source], dict[str, Source]]:
    """Open all data sets of a run, by name, and part what is held out from what is trained on.

    They share one budget of memory.

    Args:
        held_out: share of each one's episodes, the last of them, that come apart: at least one of
            each that has more than one, but none of its corrections.

    Returns:
        What is trained on, and what is held out.

    Raises:
        ValueError: for a name that is neither a task with demonstrations nor a source.
    """
    _check_recorded(datasets)
    budget = MemoryBudget()
    sources, apart = dict[str, Source](), dict[str, Source]()
    for dataset in datasets:
        with called(dataset.name):
            source = _open(dataset, budget)
            if dataset.episodes is not None:
                source = SomeEpisodes(source, range(dataset.episodes))
            corrections = [open_minari(name, budget=budget) for name in dataset.corrections]
            if other := [found.name for found in corrections if found.spec != source.spec]:
                raise ValueError(f"{other[0]} is not of the same environment as {source.name}")
            source = ScaledSource(source) if dataset.fit_scale else source
            if held_out and len(source) > 1:
                kept = len(source) - min(len(source) - 1, max(1, round(held_out * len(source))))
                apart[dataset.name] = SomeEpisodes(source, range(kept, len(source)))
                source = SomeEpisodes(source, range(kept))
            sources[dataset.name] = JoinedSource(source, corrections) if corrections else source
    return sources, apart


def _check_recorded(datasets: Sequence[DatasetConfig]) -> None:
    unrecorded = [
        dataset.name
        for dataset in datasets
        if dataset.name in TASKS and dataset.demonstrations is None
        and not dataset_folder(TASKS[dataset.name].dataset_id).exists()
    ]  # fmt: skip
    if unrecorded:
        raise ValueError(
            f"no demonstrations of {', '.join(unrecorded)} are here yet; record them: mugato "
            f"record {' '.join(unrecorded)}"
        )


def check_environments(datasets: Sequence[DatasetConfig]) -> Iterator[str]:
    """Look at the users' environments that are named beside demonstrations.

    Yields:
        A line for each whose observations have other bounds than the demonstrations'.

    Raises:
        ValueError: one that is not there, or whose spaces are not those of its demonstrations.
    """
    for dataset in datasets:
        if dataset.demonstrations is not None and dataset.name not in TASKS:
            spec = open_minari(dataset.demonstrations).spec
            with opened(task_of(dataset).make_env) as env:
                check_compatible(spec, env, task=dataset.name, whose="demonstrations of")
                if spec_of(env.observation_space, env.action_space) != spec:
                    yield (
                        f"{dataset.name}: its observations have other bounds or types than the "
                        f"demonstrations {dataset.demonstrations!r}; is it the same environment?"
                    )


def make_tokenizer(
    config: TokenizerConfig, model: GatoConfig, sources: Mapping[str, Source]
) -> Tokenizer:
    """Make a run's tokenizer: trained on its own text, a file's, or the paper's 32,000 pieces."""
    if config.text_file is not None:
        text = read_text_tokenizer(config.text_file)
    elif config.text_pieces is not None:
        text = _train_text(training_texts(sources), config.text_pieces)
    else:
        text = TextTokenizer.paper()
    vocab = dataclasses.replace(model.vocab, num_text=text.num_pieces)
    image = ImageTokenizer(
        patch_px=model.patch_px, max_patches=config.max_patches, num_levels=model.patch_levels
    )
    return Tokenizer(text=text, vocab=vocab, image=image)


def as_begun(config: TrainConfig, *, resume: bool) -> TrainConfig:
    """Give a run that begins with an agent of ours that agent's sizes.

    Raises:
        ValueError: if there is no such agent, or no run to go on with.
    """
    if config.init_from is None:
        return config
    if resume:
        return dataclasses.replace(config, model=read_config(config.run).model)
    if is_foreign(config.init_from):
        return config
    return dataclasses.replace(config, model=read_sizes(agent_folder(config.init_from)))


def tokenizer_of(config: TrainConfig, sources: Mapping[str, Source], *, resume: bool) -> Tokenizer:
    """Return a run's tokenizer: its own, that of the agent it begins with, or a new one."""
    if resume:
        return saved_tokenizer(config, sources)
    if config.init_from is not None and not is_foreign(config.init_from):
        return read_tokenizer_and_tasks(agent_folder(config.init_from))[0]
    return make_tokenizer(config.tokenizer, config.model, sources)


def saved_tokenizer(config: TrainConfig, sources: Mapping[str, Source]) -> Tokenizer:
    """Read the tokenizer of a run that goes on: its weights know no other, whatever its data is.

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
        if task.spec != saved[name].spec:
            raise ValueError(
                f"cannot resume {config.run}: the spec of {name!r} was {saved[name].spec}, but is "
                f"now {task.spec}"
            )
    return tokenizer


def make_mixture(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> Mixture:
    """Make the stream of batches."""
    by_name = {dataset.name: dataset.weight for dataset in config.datasets}
    return Mixture(
        make_windows(config, sources, tokenizer),
        weights=by_name if config.mixing == "weights" else config.mixing,
        num_rows=config.batch_rows,
        row_length=config.model.context_length,
        num_microbatches=config.microbatches,
        seed=config.seed,
    )


def make_windows(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> list[Windows]:
    """Cut those of a run's sources that are given into windows, in the run's order."""
    found = []
    for number, dataset in enumerate(config.datasets):
        if (source := sources.get(dataset.name)) is None:
            continue
        control = is_task(dataset) or is_control(source)
        share = config.prompt_share if control else 0.0
        window_config = WindowConfig(
            context_length=config.model.context_length,
            number=number,
            name=dataset.name,
            prompt_share=share if dataset.prompt_share is None else dataset.prompt_share,
            acting_prompt_share=config.acting_prompt_share,
            history=dataset.history,
            history_dropout=config.history_dropout if control else 0.0,
        )
        found.append(windows_of(source, tokenizer, window_config))
    return found


def data_warnings(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> Iterator[str]:
    """Yield a line for each thing left out, and for each leaf whose values tokens lose."""
    trained = config.tokenizer.text_file is None and config.tokenizer.text_pieces
    asked, found = trained or 0, tokenizer.text.num_pieces
    has_text = any(leaf.kind == "text" for s in sources.values() for _, _, leaf in s.spec.leaves())
    if has_text and found < asked:
        yield f"the text gives only {found:,} of the {asked:,} text pieces that were asked for"
    for name, source in sources.items():
        with called(name, source):
            lines = (*source.remarks, *sample_warnings(source, tokenizer))
            yield from (f"{name}: {line}" for line in lines)


def is_control(source: Source) -> bool:
    """Tell whether actions drive something: those of captions, answers and text are text alone."""
    return any(leaf.kind != "text" for leaf in source.spec.action_leaves.values())


def agent_tasks(config: TrainConfig, sources: Mapping[str, Source]) -> dict[str, AgentTask]:
    """Return each data set as the agent is trained on it, by name."""
    return {
        dataset.name: AgentTask(spec=sources[dataset.name].spec, history=dataset.history)
        for dataset in config.datasets
    }


def make_agent(
    config: TrainConfig,
    sources: Mapping[str, Source],
    tokenizer: Tokenizer,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> Agent:
    """Make an agent with fresh weights under the run's seed, or with those of `init_from`.

    Args:
        tell: is told what of another program's weights was taken, and what was not.
    """
    torch.manual_seed(config.seed)
    foreign = config.init_from is not None and is_foreign(config.init_from)
    if config.init_from is not None and not foreign:
        known = Agent.from_pretrained(config.init_from)
        return dataclasses.replace(known, tasks=agent_tasks(config, sources))
    model = Gato(dataclasses.replace(config.model, vocab=tokenizer.vocab))
    if config.init_from is not None:
        for line in take_weights(model, config.init_from):
            tell(line)
    return Agent(model=model, tokenizer=tokenizer, tasks=agent_tasks(config, sources))


def training_texts(sources: Mapping[str, Source]) -> Iterator[str]:
    """Yield what a text tokenizer is trained on: distinct texts of each episode, as they appear."""
    for name, source in sources.items():
        texts = [(role, path) for role, path, leaf in source.spec.leaves() if leaf.kind == "text"]
        stride = max(1, len(source) // MAX_TEXTS)
        for i in range(0, len(source), stride) if texts else ():
            with called(name, source):
                episode = source[i]
            for role, path in texts:
                yield from _distinct(episode.values(role)[path])


def _open(dataset: DatasetConfig, budget: MemoryBudget) -> Source:
    if is_task(dataset):
        if dataset.split != "train":
            raise ValueError(f"{dataset.name}: demonstrations have no split {dataset.split!r}")
        dataset_id = dataset.demonstrations or TASKS[dataset.name].dataset_id
        return open_minari(dataset_id, budget=budget)
    return open_source(dataset.name, dataset.split, budget)


def _train_text(texts: Iterable[str], num_pieces: int) -> TextTokenizer:
    """Learn pieces from the run's own text; fewer where it is too little for so many."""
    texts = [*texts, SOME_TEXT]
    while True:
        try:
            return TextTokenizer.train(texts, num_pieces=num_pieces)
        except ValueError:
            if num_pieces <= MIN_PIECES:
                raise
            num_pieces = max(MIN_PIECES, int(0.95 * num_pieces))


def _distinct(texts: Sequence[str] | np.ndarray) -> Iterator[str]:
    """Iterate over the texts of some timesteps, the first one's among them, each once."""
    stride = max(1, -(-len(texts) // MAX_TEXTS_OF_EPISODE))
    return iter(dict.fromkeys(map(str, texts[::stride])))
