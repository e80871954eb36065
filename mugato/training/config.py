"""Everything that a training run is asked to do. Complete configurations are in `presets.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mugato.model.config import GatoConfig
from mugato.model.loss import LossConfig
from mugato.model.precision import Precision


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How values become tokens.

    Attributes:
        text_pieces: train a SentencePiece model of this size on the run's own text; None takes the
            shipped 32,000 pieces.
        max_patches: images that need more patches are shrunk; None leaves them at their size.
    """

    text_pieces: int | None = None
    max_patches: int | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay (App. D).

    Attributes:
        lr: highest learning rate.
        warmup_steps: steps from `start_lr` to `lr`.
        final_fraction: the cosine ends at this share of `lr`.
        max_norm: gradients are clipped to this norm.
    """

    lr: float = 1e-4
    start_lr: float = 1e-7
    warmup_steps: int = 15_000
    final_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run.

    Attributes:
        run: folder of the run: checkpoint, resolved config, metrics.
        tasks: control tasks by name, or ids of Gymnasium environments.
        demonstrations: Minari data set of a task, where it is not the task's own.
        sources: texts, captions and questions by name.
        splits: which split of a source to train on, where it is not "train".
        weights: share of the tokens of each task and source by name, what is not named weighs 1;
            or "uniform"; or "by_tokens": as many as there are.
        prompt_share: this share of the windows of control tasks begins with a prompt from another
            episode of the task (§2.3); never where the history is limited.
        history: timesteps after which the agent forgets everything, per task (see `Spec`); for the
            others it sees as far back as its context reaches.
        model: sizes; its vocabulary follows the tokenizer.
        loss: what counts beside the targets.
        steps: optimiser updates.
        max_seconds: the schedule ends at this training time if the steps are not done by then.
        batch_rows: rows of `model.context_length` tokens in the global batch.
        batch_parts: the global batch is computed in this many equal parts, dealt to the processes;
            the result does not depend on how many processes there are.
        processes: training processes on a CPU; None starts one for each core, as far as the parts
            can be dealt out evenly. Ignored on GPUs and under torchrun.
        workers: processes that compute batches ahead, for each training process; with 0 a thread
            does. The batches are the same.
        precision: bf16 (autocast), fp32, or auto: bf16 where the processor multiplies it faster.
        compile: compile the sequence model with torch.compile.
        checkpoint_activations: save memory by computing activations again in the backward pass.
        seed: of weights, data order and dropout.
        log_every, save_every: in steps.
    """

    run: Path = Path("runs/train")
    tasks: tuple[str, ...] = ()
    demonstrations: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    splits: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] | Literal["uniform", "by_tokens"] = field(default_factory=dict)
    prompt_share: float = 0.25
    history: dict[str, int] = field(default_factory=dict)
    model: GatoConfig = field(default_factory=GatoConfig.micro)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    steps: int = 1000
    max_seconds: float | None = None
    batch_rows: int = 32
    batch_parts: int = 2
    processes: int | None = None
    workers: int = 0
    precision: Precision = "auto"
    compile: bool = False
    checkpoint_activations: bool = False
    seed: int = 0
    log_every: int = 10
    save_every: int = 500

    def __post_init__(self) -> None:
        if not self.tasks and not self.sources:
            raise ValueError("nothing to train on: name some tasks or sources")
        named = {
            "weights": (*self.tasks, *self.sources),
            "demonstrations": self.tasks,
            "history": (*self.tasks, *self.sources),
            "splits": self.sources,
        }
        for label, names in named.items():
            if label == "weights" and isinstance(self.weights, str):
                continue
            if unknown := sorted(set(getattr(self, label)) - set(names)):
                raise ValueError(f"{label} name {unknown}, but may name {sorted(names)}")
        for name in ("steps", "batch_rows", "batch_parts", "log_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers}")
        if not 0 <= self.prompt_share <= 1:
            raise ValueError(f"prompt_share must be between 0 and 1, got {self.prompt_share}")
