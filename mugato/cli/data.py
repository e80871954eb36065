"""`mugato data`: what there is, one episode of it, and whether it is sound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mugato.model.config import GatoConfig
from mugato.training.config import TokenizerConfig

if TYPE_CHECKING:
    from mugato.data.source import Source
    from mugato.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class List:
    """What is there: episodes, timesteps, tokens, bytes and spec of all data on this machine.

    Attributes:
        json: for a program.
    """

    json: bool = False

    def __call__(self) -> None:
        from mugato.cli.data_view import show_all

        show_all(usual_tokenizer(), as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Show:
    """One episode as pictures, and as the tokens that a model reads.

    Attributes:
        id: a task, for its own demonstrations, or any source: emoji, minari:ID, lerobot:FOLDER.
        episode: its number.
        split: of a source that has several.
        timesteps: how many are shown.
        max_tokens: how many are shown of one text.
        out: write the pictures of all timesteps too: a contact sheet (.png) or a film (.gif).
        json: for a program: tokens and decoded values.
        tokenizer: as in training.
    """

    id: tyro.conf.Positional[str]
    episode: int = 0
    split: str = "train"
    timesteps: int = 3
    max_tokens: int = 64
    out: Path | None = None
    json: bool = False
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __call__(self) -> None:
        from mugato.cli.data_pictures import write_pictures
        from mugato.cli.data_view import episode_json, open_by_id, read_episode, show_episode
        from mugato.cli.display import print_json, progress_console

        source, shown = open_by_id(self.id, self.split), self.timesteps
        tokenizer = usual_tokenizer(self.tokenizer, {self.id: source})
        episode, spec = read_episode(source, self.episode), source.spec
        if self.json:
            print_json(episode_json(episode, spec, tokenizer, timesteps=shown))
        else:
            show_episode(episode, spec, tokenizer, timesteps=shown, max_tokens=self.max_tokens)
        if self.out is not None:
            write_pictures(self.out, episode, spec)
            progress_console.print(f"pictures in [bold]{self.out}[/bold]")


@dataclass(frozen=True, kw_only=True)
class Check:
    """Look at all values, and compare them with what their tokens give back.

    The first fault ends it, with status 1; values that tokens lose do after all were looked at.

    Attributes:
        id: a task, for its own demonstrations, or any source: emoji, minari:ID, lerobot:FOLDER.
        split: of a source that has several.
        episodes: look at so many from all over it; None is all.
        tokenizer: as in training.
    """

    id: tyro.conf.Positional[str]
    split: str = "train"
    episodes: int | None = None
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def __call__(self) -> None:
        from mugato.cli.data_check import check
        from mugato.cli.data_view import open_by_id

        source = open_by_id(self.id, self.split)
        check(source, usual_tokenizer(self.tokenizer, {self.id: source}), episodes=self.episodes)


Action = Annotated[
    tyro.conf.OmitSubcommandPrefixes[List | Show | Check], tyro.conf.arg(prefix_name=False)
]


def data(action: Action) -> None:
    """Look at data: list what there is, show an episode, check all of it."""
    action()


def usual_tokenizer(
    config: TokenizerConfig = TokenizerConfig(), sources: Mapping[str, "Source"] = {}
) -> "Tokenizer":
    """Make the tokenizer of an agent of ours that is trained on such data."""
    from mugato.training.setup import make_tokenizer

    return make_tokenizer(config, GatoConfig.micro(), sources)
