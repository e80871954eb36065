"""Complete, named configurations. To add an experiment: one function here and one line below."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mugato.model.config import GatoConfig
from mugato.training.config import OptimizerConfig, TokenizerConfig, TrainConfig

DEMO_TASKS = (
    "babyai-go-to-red-ball-no-dists",
    "babyai-go-to-obj",
    "babyai-go-to-local",
    "babyai-open-door",
    "minigrid-four-rooms",
    "pointmaze-umaze",
    "cartpole",
    "lunar-lander-continuous",
    "metaworld-coffee-button",
    "metaworld-drawer-close",
)


def demo() -> TrainConfig:
    """One micro agent on everything that installs with pip: minutes on two CPU cores."""
    weights = {
        "babyai-go-to-red-ball-no-dists": 0.02,
        "babyai-go-to-obj": 0.04,
        "babyai-go-to-local": 0.15,
        "babyai-open-door": 0.075,
        "minigrid-four-rooms": 0.11,
        "pointmaze-umaze": 0.04,
        "cartpole": 0.01,
        "lunar-lander-continuous": 0.125,
        "metaworld-coffee-button": 0.02,
        "metaworld-drawer-close": 0.02,
        "shakespeare": 0.045,
        "factbook": 0.005,
        "emoji": 0.045,
        "easy-vqa": 0.285,
    }
    return TrainConfig(
        run=Path("runs/demo"),
        tasks=DEMO_TASKS,
        sources=("shakespeare", "factbook", "emoji", "easy-vqa"),
        splits={"easy-vqa": "by-type"},
        weights=weights,
        # A timestep of a grid world takes about 26 of the 256 tokens: beside a prompt there would
        # be five timesteps of the agent's own past instead of nine.
        prompt_share=0.0,
        # Their observations tell all (velocities, the last position): nothing to remember.
        history={
            "pointmaze-umaze": 1,
            "cartpole": 1,
            "lunar-lander-continuous": 1,
            "metaworld-coffee-button": 1,
            "metaworld-drawer-close": 1,
        },
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=OptimizerConfig(lr=6e-4, warmup_steps=100),
        steps=4000,
        max_seconds=690.0,
        batch_rows=16,
    )


def own() -> TrainConfig:
    """A micro agent on one's own choice: of tasks and sources by name, or of an environment."""
    return TrainConfig(
        run=Path("runs/own"),
        tasks=("name-tasks-or-sources",),
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=100),
        steps=1000,
    )


def _paper(model: GatoConfig, run: str) -> TrainConfig:
    """The paper's training (App. D) on the demo's data, for machines that can carry it."""
    return TrainConfig(
        run=Path(run),
        tasks=DEMO_TASKS,
        sources=("shakespeare", "factbook", "emoji", "easy-vqa"),
        model=model,
        steps=1_000_000,
        batch_rows=512,
        batch_parts=64,
        save_every=1000,
    )


def mini() -> TrainConfig:
    """Between micro and the paper's smallest model."""
    return _paper(GatoConfig.mini(), "runs/mini")


def small() -> TrainConfig:
    """The paper's 79M model."""
    return _paper(GatoConfig.small(), "runs/small")


def baseline() -> TrainConfig:
    """The paper's 364M model."""
    return _paper(GatoConfig.baseline(), "runs/baseline")


def large() -> TrainConfig:
    """The paper's 1.18B model."""
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
    """A preset by name.

    >>> preset("demo").run
    PosixPath('runs/demo')
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()
