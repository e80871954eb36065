"""What to evaluate of a run, and how: the configuration, and the plan that comes of it."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import torch
import tyro

from mugato.acting.batch_policy import MAX_SEED, InferenceConfig
from mugato.agent import Agent, Sampling, shipped_agent
from mugato.data.config import DatasetConfig
from mugato.data.registry import named_like
from mugato.model.devices import AUTO, find_device
from mugato.model.serialization import CONFIG, WEIGHTS
from mugato.system.errors import known_names
from mugato.tasks.task import DEMONSTRATION_SEEDS, EVALUATION_SEEDS, Task
from mugato.training.run_info import RunInfo, is_played, task_of


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How to score an agent.

    Attributes:
        tasks: only these tasks and sources; all that the agent was trained on where None.
        episodes: episodes of each task.
        first_seed: seed of each task's first episode; demonstrations use those below 1,000,000.
        sampling: how actions are chosen; as the agent keeps it for each task if None.
        seed: seed of the sampling.
        workers: processes of one thread each; the results are the same for any number.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
        videos: whether to film an episode of each task, at the seed after the scored ones.
    """

    tasks: Sequence[str] | None = None
    episodes: int = 50
    first_seed: int = EVALUATION_SEEDS.start
    sampling: Annotated[Sampling | None, tyro.conf.Suppress] = None
    seed: int = 0
    workers: int = 2
    device: str = AUTO
    videos: bool = True

    def __post_init__(self) -> None:
        for name in ("episodes", "first_seed", "seed"):  # NumPy's integers, too
            object.__setattr__(self, name, operator.index(getattr(self, name)))
            if abs(getattr(self, name)) >= MAX_SEED:
                raise ValueError(f"{name} must be less than 2**62, got {getattr(self, name)}")
        if self.tasks is not None and not self.tasks:
            raise ValueError("no tasks are named; leave `tasks` out to score all of them")
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.first_seed < DEMONSTRATION_SEEDS.stop:
            raise ValueError(
                f"seeds below {DEMONSTRATION_SEEDS.stop} are for demonstrations, "
                f"got {self.first_seed}"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A configuration applied to a run.

    Attributes:
        datasets: all that the agent was trained on.
        tasks: names of the control tasks to play, or ids of Gymnasium environments.
        sources: names of the texts, captions and questions to score.
        inference: how the agent acts.
    """

    run: Path
    config: EvaluationConfig
    datasets: tuple[DatasetConfig, ...]
    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    inference: InferenceConfig

    @property
    def seeds(self) -> range:
        """Seeds of the evaluation episodes, the same for every task."""
        first = self.config.first_seed
        return range(first, first + self.config.episodes)

    @property
    def video_seed(self) -> int:
        """Seed of the episode that is filmed."""
        return self.seeds.stop

    @property
    def left_out(self) -> list[str]:
        """Names of what the agent was trained on but is not asked for."""
        return [d.name for d in self.datasets if d.name not in (*self.tasks, *self.sources)]

    def trained_history(self, task: str) -> int | None:
        """Return the limit of a task's history, if it was trained with one."""
        return next((d.history for d in self.datasets if d.name == task), None)

    def demonstrations(self, task: str) -> str | None:
        """Return the Minari data set that a task was learned from, if it is not the task's own."""
        return next((d.demonstrations for d in self.datasets if d.name == task), None)

    def agent(self) -> Agent:
        """Read the agent, once per process."""
        return load_agent(self.run, self.inference.device)


def make_plan(run: str | Path, config: EvaluationConfig) -> Plan:
    """Apply a configuration to a run.

    A folder that holds an agent alone is judged by the names that the agent knows.

    Raises:
        ValueError: no agent in `run`, a configuration that is not one of ours, an unknown task, or
            the name of an agent that comes with the package, where nothing is written.
    """
    if shipped_agent(run):
        raise ValueError(
            f"{run} comes with mugato, and nothing is written there: score a copy of it, "
            f"`mugato export {run} FOLDER`"
        )
    run, inference = Path(run), inference_config(config)
    agent = load_agent(run, inference.device)
    datasets = RunInfo.read(run).datasets
    if datasets is None:
        datasets = tuple(DatasetConfig(name=name) for name in agent.tasks)
    wanted = _chosen([d.name for d in datasets], config.tasks)
    return Plan(
        run=run,
        config=config,
        datasets=datasets,
        tasks=tuple(d.name for d in datasets if d.name in wanted and is_played(d)),
        sources=tuple(d.name for d in datasets if d.name in wanted and not is_played(d)),
        inference=inference,
    )


def inference_config(config: EvaluationConfig) -> InferenceConfig:
    """Act in bf16 where there are units for it; asked of the machine, never timed."""
    options = {"sampling": config.sampling, "seed": config.seed}
    device = find_device(config.device)
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # new in PyTorch
    has_units = device.type == "cuda" or (device.type == "cpu" and capabilities.get("amx_bf16"))
    return InferenceConfig(**options, device=str(device), precision="bf16" if has_units else "fp32")


def find_tasks(plan: Plan) -> tuple[list[Task], dict[str, str]]:
    """Return the tasks of a plan, and why some have none here."""
    tasks, problems = [], {}
    for dataset in plan.datasets:
        if dataset.name in plan.tasks:
            try:
                tasks.append(task_of(dataset))
            except (ValueError, ImportError) as error:
                problems[dataset.name] = str(error)
    return tasks, problems


def load_agent(folder: str | Path, device: str) -> Agent:
    """Read an agent, once per process as long as its files stay the same."""
    paths = [Path(folder) / name for name in (WEIGHTS, CONFIG)]
    written = tuple(path.stat().st_mtime_ns for path in paths if path.is_file())
    return _load_agent(str(folder), device, written)


@lru_cache(maxsize=1)
def _load_agent(folder: str, device: str, written: tuple[int, ...]) -> Agent:
    return Agent.from_pretrained(folder, device=device)


def _chosen(known: Sequence[str], names: Sequence[str] | None) -> Sequence[str]:
    """Return all known names, or those that are asked for; sources need no options.

    Raises:
        ValueError: for a name that the run was not trained on.
    """
    if names is None:
        return known
    found = {name: named_like(name, known) for name in names}
    if unknown := [name for name, like in found.items() if like is None]:
        hint = known_names(unknown[0], known)
        raise ValueError(f"the run has no task {unknown}{hint}")
    return [name for name in known if name in found.values()]
