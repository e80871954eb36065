"""Complete, named configurations. To add an experiment: one function here and one line below."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mugato.data.config import DatasetConfig
from mugato.model.config import GatoConfig
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


def demo() -> TrainConfig:
    """Train one micro agent on everything that installs with pip: minutes on two CPU cores."""
    return TrainConfig(
        run=Path("runs/demo"),
        datasets=DEMO_DATASETS,
        # A timestep of a grid world takes about 26 of the 256 tokens: beside a prompt there would
        # be five timesteps of the agent's own past instead of nine.
        prompt_share=0.0,
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=OptimizerConfig(lr=6e-4, warmup_steps=100),
        steps=4000,
        max_seconds=690.0,
        batch_rows=16,
    )


def own(datasets: Sequence[DatasetConfig] = DEMO_DATASETS) -> TrainConfig:
    """Train a micro agent on one's own choice of tasks, sources or environments."""
    return TrainConfig(
        run=Path("runs/own"),
        datasets=tuple(datasets),
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=100),
        steps=1000,
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
    "own": own,
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
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()
