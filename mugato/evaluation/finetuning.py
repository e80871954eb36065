"""Few-shot fine-tuning: how well an agent plays after so many demonstrations (App. E).

For each number of demonstrations, and each seed, the agent is trained on that many of them alone,
and beside it one with fresh weights and the same budget. All play the same seeds. What was done is
kept: the same call goes on where it was stopped, and trains nothing twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mugato.agent import Agent, agent_folder
from mugato.data.config import DatasetConfig
from mugato.evaluation.config import EvaluationConfig
from mugato.evaluation.evaluate import evaluate
from mugato.evaluation.results import EvaluationResults, Provenance, read_results, save_json
from mugato.evaluation.scores import TaskScores
from mugato.evaluation.trainings import TrainingsScore
from mugato.model.devices import AUTO
from mugato.model.gato import read_sizes
from mugato.training.checkpoint import STATE, read_progress
from mugato.training.config import TrainConfig
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import RECIPE, own
from mugato.training.run import train_part
from mugato.training.run_folder import changes, used_up
from mugato.training.run_info import read_config, save_config
from mugato.training.setup import agent_tasks, open_sources

REPORT = "finetuning.json"
# The recipe of pretraining at a constant rate (App. E): the weights are there already.
CONSTANT = replace(RECIPE, lr=2e-4, warmup_steps=0, final_fraction=1.0, average_share=0.1)
# Of adapters, which begin as nothing.
ADAPTERS = replace(CONSTANT, lr=2e-3, muon_lr_factor=0.0)
Start = Literal["agent", "scratch"]
OnStatus = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How to fine-tune.

    Attributes:
        out: folder of all runs and of the table.
        episodes: numbers of demonstrations; 0 plays without any training.
        seeds: of the trainings of each number.
        max_tokens: budget of each training.
        batch_rows: rows of the agent's context in a batch.
        optimizer: of the agent; fresh weights are trained by the recipe of pretraining.
        lora_rank: train adapters of this rank instead of all of the agent's weights, by AdamW at
            ten times the rate where the optimizer is not given.
        scratch: whether fresh weights are trained beside.
        evaluation_episodes: that each plays.
        workers: processes, to play.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
    """

    out: Path = Path("runs/finetune")
    episodes: tuple[int, ...] = (0, 1, 10, 100, 1000)
    seeds: tuple[int, ...] = (0, 1, 2)
    max_tokens: int = 200_000
    batch_rows: int = 4
    optimizer: OptimizerConfig = field(default_factory=lambda: CONSTANT)
    lora_rank: int = 0
    scratch: bool = True
    evaluation_episodes: int = 50
    workers: int = 2
    device: str = AUTO

    def __post_init__(self) -> None:
        for name in ("episodes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or min(values) < 0:
                raise ValueError(f"{name} must be different numbers from 0 on, got {values}")

    def trainings(self) -> Iterator[tuple[int, Start, int]]:
        """Yield (demonstrations, start, seed) of each agent that plays."""
        for episodes in sorted(self.episodes):
            starts: tuple[Start, ...] = ("agent", "scratch")
            for start in starts[: 2 if self.scratch and episodes else 1]:
                for seed in self.seeds if episodes else self.seeds[:1]:
                    yield episodes, start, seed


@dataclass(frozen=True, kw_only=True)
class Shots:
    """What all trainings with one number of demonstrations came to.

    Attributes:
        start: whether the agent's weights were trained on, or fresh ones.
        returns: the mean of each seed's agent.
        scores: the same, normalized; None without references.
    """

    episodes: int
    start: Start
    returns: TrainingsScore
    scores: TrainingsScore | None

    @staticmethod
    def of(episodes: int, start: Start, found: Sequence[TaskScores]) -> "Shots":
        """Gather what each seed's agent scored."""
        scored = [float(scores.normalized().mean()) for scores in found if scores.has_score]
        return Shots(
            episodes=episodes,
            start=start,
            returns=TrainingsScore(values=tuple(scores.return_mean for scores in found)),
            scores=TrainingsScore(values=tuple(scored)) if len(scored) == len(found) else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, with 95 % intervals over the trainings."""
        found = {"episodes": self.episodes, "start": self.start, "return": self.returns.to_json()}
        return found if self.scores is None else {**found, "score": self.scores.to_json()}


def finetune(
    agent: str | Path,
    dataset: DatasetConfig,
    config: FinetuneConfig = FinetuneConfig(),
    *,
    on_status: OnStatus = lambda line: None,
    command: str = "mugato.finetune",
) -> list[Shots]:
    """Train an agent on few demonstrations of a task, and play; write `finetuning.json`.

    Args:
        agent: folder of the agent, or the name of one that is shipped.
        dataset: the task and its demonstrations, of which the first ones are taken.
        on_status: called with a line about what is being done.

    Returns:
        Each number of demonstrations, the agent before fresh weights.

    Raises:
        ValueError: no agent, too few demonstrations, or a task that cannot be played.
    """
    Agent.from_pretrained(agent)  # if there is none it is said at once
    available = len(open_sources([dataset])[dataset.name])
    if (wanted := max(config.episodes)) > available:
        raise ValueError(f"{dataset.name} has {available} demonstrations, not {wanted}")
    folder = folder_of(config, dataset)
    found: dict[tuple[int, Start], list[TaskScores]] = {}
    for episodes, start, seed in config.trainings():
        on_status(f"{dataset.name}, {episodes} demonstrations, {start}, seed {seed}")
        run = training(agent, dataset, config, episodes=episodes, start=start, seed=seed)
        run = replace(run, run=folder / f"{start}-{episodes}-{seed}")
        _train(run, on_status) if episodes else _take_over(run, dataset)
        found.setdefault((episodes, start), []).append(_scores(run, config))
    shots = [Shots.of(*key, scores) for key, scores in found.items()]
    rows = {"task": dataset.name, "agent": str(agent), "shots": [row.to_json() for row in shots]}
    save_json(folder / REPORT, {**rows, **asdict(Provenance.here(command))})
    return shots


def folder_of(config: FinetuneConfig, dataset: DatasetConfig) -> Path:
    """Return where all of one task lies."""
    return config.out / "".join(c if c.isalnum() else "-" for c in dataset.name)


def training(
    agent: str | Path,
    dataset: DatasetConfig,
    config: FinetuneConfig,
    *,
    episodes: int,
    start: Start,
    seed: int,
) -> TrainConfig:
    """Return the configuration of one training."""
    given, goes_on = replace(dataset, episodes=episodes or None), start == "agent"
    constant = config.optimizer
    if config.lora_rank and constant == CONSTANT:
        constant = ADAPTERS
    return replace(
        own([given]),
        init_from=Path(agent) if goes_on else None,
        model=read_sizes(agent_folder(agent)),
        optimizer=constant if goes_on else RECIPE,
        lora_rank=config.lora_rank if goes_on else 0,
        max_tokens=config.max_tokens,
        batch_rows=config.batch_rows,
        device=config.device,
        seed=seed,
    )


def _train(run: TrainConfig, on_status: OnStatus) -> None:
    """Train, or go on with a training, unless it is done."""
    resume = (run.run / STATE).exists()
    if resume and (other := changes(read_config(run.run), run)):
        raise ValueError(f"{run.run} was trained otherwise ({other[0]}): name another --out")
    if not (resume and used_up(read_progress(run.run), run)):
        train_part(run, resume=resume, overwrite=not resume, on_status=on_status)


def _take_over(run: TrainConfig, dataset: DatasetConfig) -> None:
    """Let an agent play a task that it was not trained on: it is told the spec alone."""
    assert run.init_from is not None
    agent = Agent.from_pretrained(run.init_from)
    tasks = agent_tasks(run, open_sources([dataset]))
    known = {name: agent.tasks.get(name, task) for name, task in tasks.items()}
    replace(agent, tasks=known).save_pretrained(run.run)
    save_config(run)


def _scores(run: TrainConfig, config: FinetuneConfig) -> TaskScores:
    """Play, unless these weights have played as often already."""
    [name] = [dataset.name for dataset in run.datasets]
    asked = EvaluationConfig(
        tasks=[name], episodes=config.evaluation_episodes, workers=config.workers, videos=False,
        device=config.device,
    )  # fmt: skip
    results = _played(run.run, asked.episodes) or evaluate(run.run, asked)
    if name not in results.tasks:
        raise ValueError(f"{name} could not be played: {'; '.join(results.problems.values())}")
    return results.tasks[name]


def _played(run: Path, episodes: int) -> EvaluationResults | None:
    """Return what the weights in a run's folder scored in so many episodes, if they did."""
    try:
        results = read_results(run)
    except ValueError:  # there is no report
        return None
    return results if results.stale is None and results.evaluation.episodes == episodes else None
