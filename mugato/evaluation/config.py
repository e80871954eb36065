"""What to evaluate of a run, and how: the configuration, and the plan that comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mugato.acting.sampling import Sampling
from mugato.agent import Agent
from mugato.data.config import DatasetConfig
from mugato.data.registry import named_like
from mugato.evaluation.episodes import InferenceConfig, load_agent
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS
from mugato.tasks.task import DEMONSTRATION_SEEDS, EVALUATION_SEEDS, Task
from mugato.training.run_info import RunInfo


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How to score an agent.

    Attributes:
        tasks: only these tasks and sources; all that the agent was trained on where None.
        episodes: episodes of each task.
        first_seed: seed of each task's first episode; demonstrations use those below 1,000,000.
        sampling: how ids are chosen.
        seed: seed of the sampling.
        workers: processes of one thread each; the results are the same for any number.
        videos: whether to film an episode of each task, at the seed after the scored ones.
    """

    tasks: Sequence[str] | None = None
    episodes: int = 50
    first_seed: int = EVALUATION_SEEDS.start
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    workers: int = 2
    videos: bool = True

    def __post_init__(self) -> None:
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
class RunContents:
    """What the agent in a run's folder learned.

    Attributes:
        tasks: names of control tasks, or ids of Gymnasium environments.
        sources: names of texts, captions and questions.
        demonstrations: Minari data set of each task that does not use its own.
    """

    tasks: tuple[str, ...]
    sources: tuple[str, ...]
    demonstrations: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A configuration applied to a run.

    Attributes:
        names: the control tasks.
        sources: those of questions, captions and text.
        contents: what the run learned: these, and what was left out on request.
        inference: how the agent acts.
    """

    run: Path
    config: EvaluationConfig
    names: tuple[str, ...]
    sources: tuple[str, ...]
    contents: RunContents
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


def make_plan(run: Path, config: EvaluationConfig) -> Plan:
    """Apply a configuration to a run.

    Raises:
        ValueError: no agent in `run`, or an unknown task.
    """
    run, inference = Path(run), inference_config(config)
    contents = run_contents(run, load_agent(str(run), inference.device))
    wanted = chosen(contents, config.tasks)
    return Plan(
        run=run,
        config=config,
        names=wanted.tasks,
        sources=wanted.sources,
        contents=contents,
        inference=inference,
    )


def inference_config(config: EvaluationConfig) -> InferenceConfig:
    """Act in bf16 where there are units for it; asked of the machine, never timed."""
    options = {"sampling": config.sampling, "seed": config.seed}
    if torch.cuda.is_available():
        return InferenceConfig(**options, device="cuda", precision="bf16")
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # new in PyTorch
    precision = "bf16" if capabilities.get("amx_bf16") else "fp32"
    return InferenceConfig(**options, precision=precision)


def run_contents(run: Path, agent: Agent) -> RunContents:
    """Read the run's resolved config; without one, go by the names that the agent knows.

    Raises:
        ValueError: if the config is not one of ours.
    """
    datasets = RunInfo.read(run).datasets
    if datasets is None:
        datasets = tuple(DatasetConfig(name=name) for name in agent.tasks)
    demonstrations = {d.name: d.demonstrations for d in datasets if d.demonstrations is not None}
    tasks = tuple(d.name for d in datasets if d.name in TASKS or d.name in demonstrations)
    return RunContents(
        tasks=tasks,
        sources=tuple(d.name for d in datasets if d.name not in tasks),
        demonstrations=demonstrations,
    )


def chosen(contents: RunContents, names: Sequence[str] | None) -> RunContents:
    """All that the run learned, or what was asked for by name; sources need no options.

    Raises:
        ValueError: for a name that the run was not trained on.
    """
    if names is None:
        return contents
    known = (*contents.tasks, *contents.sources)
    found = {name: named_like(name, known) for name in names}
    if unknown := [name for name, like in found.items() if like is None]:
        raise ValueError(f"the run has no task {unknown}, only {list(known)}")
    wanted = set(found.values())
    return replace(
        contents,
        tasks=tuple(name for name in contents.tasks if name in wanted),
        sources=tuple(name for name in contents.sources if name in wanted),
    )


def find_task(name: str) -> Task:
    """One of our tasks, or a Gymnasium environment under the name that the agent knows it by.

    Raises:
        ValueError: neither is there.
    """
    return TASKS[name] if name in TASKS else replace(gymnasium_task(name), name=name)


def find_tasks(names: Sequence[str]) -> tuple[list[Task], dict[str, str]]:
    """The tasks, and why some names have none here."""
    tasks, problems = [], {}
    for name in names:
        try:
            tasks.append(find_task(name))
        except (ValueError, ImportError) as error:
            problems[name] = str(error)
    return tasks, problems
