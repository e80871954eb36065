"""Complete, named configurations. To add an experiment: one function here and one line below."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mugato.data.config import DatasetConfig
from mugato.data.formats.multinet.names import FOLDERS, PREFIX
from mugato.model.config import GatoConfig
from mugato.system.errors import did_you_mean
from mugato.tasks.registry import TASKS
from mugato.training.config import TokenizerConfig, TrainConfig
from mugato.training.optimizer import OptimizerConfig

# Where the observation tells all (velocities, the last position) there is nothing to remember.
DEMO_DATASETS = (
    DatasetConfig(name="babyai-go-to-red-ball-no-dists", weight=0.02),
    DatasetConfig(name="babyai-go-to-obj", weight=0.04),
    DatasetConfig(name="babyai-go-to-local", weight=0.15),
    DatasetConfig(name="babyai-open-door", weight=0.075),
    DatasetConfig(name="minigrid-four-rooms", weight=0.11),
    DatasetConfig(name="pointmaze-umaze", weight=0.04, history=1),
    DatasetConfig(name="cartpole", weight=0.01, history=1),
    DatasetConfig(name="lunar-lander-continuous", weight=0.125, history=1),
    DatasetConfig(name="metaworld-coffee-button", weight=0.02, history=1),
    DatasetConfig(name="metaworld-drawer-close", weight=0.02, history=1),
    DatasetConfig(name="shakespeare", weight=0.045),
    DatasetConfig(name="factbook", weight=0.005),
    DatasetConfig(name="emoji", weight=0.045),
    DatasetConfig(name="easy-vqa", split="by-type", weight=0.285),
)


# Small batches: as long as a run has seen little, the number of its steps decides (docs/log.md).
RECIPE = OptimizerConfig(
    lr=6e-4, warmup_steps=100, final_fraction=0.0, muon_lr_factor=2.0, average_share=0.05
)
# What an agent that is shipped should play beside the demo's: small rooms that are seen in part,
# and much else that a demonstration or two hundred teach.
SMALL_ROOMS = (
    "babyai-go-to-red-ball-grey", "babyai-go-to-red-ball", "babyai-go-to-obj-s4",
    "babyai-go-to-obj-s6", "babyai-go-to-local-s5n2", "babyai-go-to-local-s6n3",
    "babyai-go-to-local-s7n4", "babyai-go-to-local-s8n4", "babyai-go-to-local-s8n7",
    "babyai-go-to-red-blue-ball", "babyai-go-to-door", "babyai-go-to-obj-door",
    "babyai-open-red-door", "babyai-open-door-color", "babyai-open-door-loc", "babyai-pickup-loc",
    "babyai-pickup-dist", "babyai-action-obj-door", "babyai-one-room-s8", "minigrid-empty-5x5",
    "minigrid-empty-8x8", "minigrid-empty-random-6x6", "minigrid-lava-gap-s5",
    "minigrid-go-to-door-5x5", "minigrid-go-to-object-6x6-n2", "minigrid-dist-shift-1",
)  # fmt: skip
SEEN_WHOLE = (
    "metaworld-handle-press", "metaworld-door-unlock", "metaworld-plate-slide",
    "metaworld-button-press", "metaworld-reach", "metaworld-faucet-open", "mountain-car",
    "mountain-car-continuous", "acrobot", "cliff-walking", "taxi",
)  # fmt: skip
SHIPPED_SHARES = {
    "babyai-go-to-local": 0.06, "babyai-open-door": 0.03, "minigrid-four-rooms": 0.08,
    "lunar-lander-continuous": 0.08, "pointmaze-umaze": 0.04, "shakespeare": 0.045,
    "emoji": 0.045, "easy-vqa": 0.17,
}  # fmt: skip


def demo() -> TrainConfig:
    """Train one micro agent on everything that installs with pip: minutes on two CPU cores."""
    return TrainConfig(
        run=Path("runs/demo"),
        datasets=DEMO_DATASETS,
        # A timestep of a grid world takes about 13 of the 256 tokens: a prompt would take half of
        # the agent's own past.
        prompt_share=0.0,
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=RECIPE,
        max_seconds=690.0,
        max_tokens=16_000_000,
        batch_rows=4,
    )


def mugato_small() -> TrainConfig:
    """Train an agent to be shipped: 47 control tasks, text, captions, questions; a night."""
    small = [DatasetConfig(name=name, weight=0.01) for name in SMALL_ROOMS]
    small += [DatasetConfig(name=name, weight=0.01, history=1) for name in SEEN_WHOLE]
    known = [
        dataclasses.replace(one, weight=SHIPPED_SHARES.get(one.name, min(one.weight, 0.02)))
        for one in DEMO_DATASETS
    ]
    return dataclasses.replace(
        demo(), run=Path("runs/mugato-small"), datasets=(*known, *small), max_seconds=None,
        max_tokens=20_000_000,
    )  # fmt: skip


def own(
    datasets: Sequence[DatasetConfig] = DEMO_DATASETS, *, run: Path = Path("runs/own")
) -> TrainConfig:
    """Train a micro agent on one's own choice of tasks, sources or environments."""
    return TrainConfig(
        run=run,
        datasets=tuple(datasets),
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=RECIPE,
        acting_prompt_share=0.5,
        history_dropout=0.5,
        max_tokens=2_000_000,
        batch_rows=4,
    )


def multinet(folder: str | Path = "multinet") -> TrainConfig:
    """Train on MultiNet's own data in a folder of its downloads, or on the sources that are named.

    Its requests are questions, each for itself: the answers of six data sets count alike, and a
    context holds the 1,000 characters that are kept of each text.
    """
    names = [f"{PREFIX}{folder}/{name}" for name in FOLDERS]
    return TrainConfig(
        run=Path("runs/multinet"),
        datasets=tuple(DatasetConfig(name=name) for name in names),
        prompt_share=0.0,
        model=dataclasses.replace(GatoConfig.micro(), context_length=1024),
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=RECIPE,
        balance=1.0,
        max_tokens=20_000_000,
        batch_rows=4,
    )


def _experts(*domains: str) -> list[DatasetConfig]:
    """List the tasks of some domains that have an expert."""
    tasks = [task for task in TASKS.values() if task.domain in domains]
    return [DatasetConfig(name=task.name) for task in tasks if task.make_expert is not None]


def babyai() -> TrainConfig:
    """Train on all BabyAI levels; `mugato record --preset babyai` comes first."""
    config = own(_experts("babyai"), run=Path("runs/babyai"))
    return dataclasses.replace(config, max_tokens=20_000_000)


def metaworld() -> TrainConfig:
    """Train on Meta-World's fifty."""
    config = own(_experts("metaworld"), run=Path("runs/metaworld"))
    return dataclasses.replace(config, max_tokens=20_000_000)


MAZE_SHARES = {
    "empty": 0.07, "corridors": 0.22, "keys": 0.23, "switches": 0.17, "chains": 0.25,
    "teleporters": 0.06,
}  # fmt: skip


def mazes() -> TrainConfig:
    """Train on the mazes of MultiNet v2.0: two hours; `mugato record --preset mazes` first."""
    levels = [
        DatasetConfig(name=f"mazes-{level}", weight=share, history=1)  # a picture tells all
        for level, share in MAZE_SHARES.items()
    ]
    config = own(levels, run=Path("runs/mazes"))
    return dataclasses.replace(
        config, max_tokens=40_000_000, max_seconds=7200.0, tokenizer=TokenizerConfig(
            text_pieces=1024, max_patches=16), acting_prompt_share=0.0, history_dropout=0.0,
    )  # fmt: skip


def generalist() -> TrainConfig:
    """Train on every task that has an expert, and on text, captions and questions; days."""
    tasks = _experts(*{task.domain for task in TASKS.values()})
    share = 0.62 / len(tasks)  # as in the demo, what is not control has 38 %
    datasets = [dataclasses.replace(task, weight=share) for task in tasks]
    datasets += [dataset for dataset in DEMO_DATASETS if dataset.name not in TASKS]
    return dataclasses.replace(
        own(datasets, run=Path("runs/generalist")), model=GatoConfig.mini(), max_tokens=200_000_000
    )


def _paper(model: GatoConfig, run: str) -> TrainConfig:
    """Train as in the paper (App. D) on the demo's data, on machines that can carry it."""
    return TrainConfig(
        run=Path(run),
        datasets=tuple(DatasetConfig(name=dataset.name) for dataset in DEMO_DATASETS),
        model=model,
        steps=1_000_000,
        batch_rows=512,
        microbatches=64,
        save_every=1000,
    )


def mini() -> TrainConfig:
    """Train a model between micro and the paper's smallest."""
    return _paper(GatoConfig.mini(), "runs/mini")


def small() -> TrainConfig:
    """Train the paper's 79M model."""
    return _paper(GatoConfig.small(), "runs/small")


def baseline() -> TrainConfig:
    """Train the paper's 364M model."""
    return _paper(GatoConfig.baseline(), "runs/baseline")


def large() -> TrainConfig:
    """Train the paper's 1.18B model."""
    return _paper(GatoConfig.large(), "runs/large")


PRESETS: Mapping[str, Callable[[], TrainConfig]] = {
    "demo": demo,
    "mugato-small": mugato_small,
    "own": own,
    "babyai": babyai,
    "mazes": mazes,
    "metaworld": metaworld,
    "generalist": generalist,
    "multinet": multinet,
    "mini": mini,
    "small": small,
    "baseline": baseline,
    "large": large,
}


def preset(name: str) -> TrainConfig:
    """Return a preset by name.

    >>> preset("demo").run
    PosixPath('runs/demo')
    """
    if name not in PRESETS:
        raise ValueError(
            f"no preset {name!r}; there are {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}"
        )
    return PRESETS[name]()
