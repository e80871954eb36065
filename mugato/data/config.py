"""One data set of a run: what is read of it, and how much it counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """One data set that an agent is trained on.

    Attributes:
        name: a control task of ours; the id of a Gymnasium environment, with `demonstrations`; or a
            source with its options ("easy-vqa?size_px=32"). The agent knows it by this name.
        split: which split of a source.
        weight: its share of the tokens is its weight over the sum of all.
        history: timesteps after which the agent forgets everything; None where it sees as far back
            as its context reaches.
        prompt_share: this share of its windows begins with a prompt from another episode (§2.3);
            the run's where None.
        episodes: train on the first so many demonstrations alone; None is all.
        fit_scale: bring continuous values to [-1, 1] by their range in its episodes, where they
            are too large or too close for the paper's tokens.
        demonstrations: Minari data set of a task, where it is not the task's own; sources have
            none.
        corrections: Minari data sets of the same task that join its demonstrations: what an expert
            said where an agent drove, see `mugato record --driver`.
        env_kwargs: what a Gymnasium environment is made with.
        wrappers: "package.module:Wrapper" each, put around it, the innermost first.
    """

    name: str
    split: str = "train"
    weight: float = 1.0
    history: int | None = None
    prompt_share: float | None = None
    episodes: int | None = None
    fit_scale: bool = False
    demonstrations: str | None = None
    corrections: tuple[str, ...] = ()
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"{self.name}: weight must be a number from 0 on, got {self.weight}")
        if self.history is not None and self.history < 1:
            raise ValueError(
                f"{self.name}: history must be at least 1 timestep, got {self.history}"
            )
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"{self.name}: episodes must be at least 1, got {self.episodes}")
        if self.prompt_share is not None and not 0 <= self.prompt_share <= 1:
            raise ValueError(
                f"{self.name}: prompt_share must be between 0 and 1, got {self.prompt_share}"
            )
        if self.demonstrations is not None:
            from mugato.data.registry import is_source  # loads every format's packages

            if is_source(self.name):
                raise ValueError(
                    f"{self.name} is a source, not a task or an environment, so it has no "
                    f"demonstrations; got {self.demonstrations!r}"
                )
