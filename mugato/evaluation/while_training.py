"""Playing while an agent is trained: a few episodes of each task, every so many steps."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import Agent
from mugato.data.config import DatasetConfig
from mugato.evaluation.episodes import EpisodeRequest, PlayedEpisode, play_episodes
from mugato.tasks.task import TUNING_SEEDS
from mugato.training.config import TrainConfig
from mugato.training.run_info import is_played, task_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Playing:
    """Plays the tasks of a run, always with the same seeds, which no agent is scored on.

    Attributes:
        episodes: of each task.
        device: where the agent is.
    """

    datasets: tuple[DatasetConfig, ...]
    episodes: int
    device: str = "cpu"

    @staticmethod
    def of(config: TrainConfig) -> "Playing":
        """Play what a configuration trains on and what can be played."""
        played = tuple(dataset for dataset in config.datasets if is_played(dataset))
        if not played:
            raise ValueError(
                f"play_episodes={config.play_episodes}: nothing that is trained on can be played"
            )
        return Playing(datasets=played, episodes=config.play_episodes, device=config.device)

    @property
    def tasks(self) -> list[str]:
        """Names as the run has them."""
        return [dataset.name for dataset in self.datasets]

    def __call__(self, agent: Agent, tasks: Sequence[str]) -> dict[str, float]:
        """Return the mean return of each task; a warning tells of one that cannot be played."""
        by_name = {dataset.name: dataset for dataset in self.datasets}
        found = {}
        for name in tasks:
            try:
                found[name] = self._mean_return(agent, by_name[name])
            except (ValueError, ImportError) as error:
                logger.warning("%s is not played: %s", name, error)
        return found

    def _mean_return(self, agent: Agent, dataset: DatasetConfig) -> float:
        task = task_of(dataset)
        seeds = TUNING_SEEDS[: self.episodes]
        results = play_episodes(
            agent,
            [EpisodeRequest(task=task, seed=seed) for seed in seeds],
            inference=InferenceConfig(device=self.device, precision="fp32"),
        )
        for result in results:
            if not isinstance(result, PlayedEpisode):
                raise ValueError(f"seed {result.seed}: {result.error}")
        return fmean(r.episode_return for r in results if isinstance(r, PlayedEpisode))
