"""What to find out about a run, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mugato.evaluation.contents import RunContents
from mugato.evaluation.episodes import Acting


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to evaluate, and how.

    Attributes:
        names: the control tasks.
        sources: of questions, captions and text.
        contents: what the run learned: these, and what was left out on request.
        videos: whether to film an episode of each task, at the seed after the scored ones.
    """

    run: Path
    names: tuple[str, ...]
    sources: tuple[str, ...]
    contents: RunContents
    episodes: int
    first_seed: int
    acting: Acting
    videos: bool

    @property
    def seeds(self) -> Sequence[int]:
        """Of every task's episodes."""
        return range(self.first_seed, self.first_seed + self.episodes)

    @property
    def video_seed(self) -> int:
        return self.first_seed + self.episodes
