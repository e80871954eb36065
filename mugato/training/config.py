"""Everything that a training run is asked to do. Complete configurations are in `presets.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mugato.data.config import DatasetConfig
from mugato.model.config import GatoConfig
from mugato.model.devices import AUTO
from mugato.model.loss import LossConfig
from mugato.model.precision import Precision
from mugato.system.typed_json import from_json
from mugato.training.optimizer import OptimizerConfig

# A run of fewer steps is there to see whether it runs, not to learn.
TRIAL_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How values become tokens.

    Attributes:
        text_pieces: train a SentencePiece model of this size on the run's own text; None takes the
            shipped 32,000 pieces.
        text_file: take the text tokenizer in this file, whatever `text_pieces` says: a
            SentencePiece model, or a `tokenizer.json` of Hugging Face's `tokenizers`.
        max_patches: images that need more patches are shrunk; None leaves them at their size.
    """

    text_pieces: int | None = None
    text_file: Path | None = None
    max_patches: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run.

    Attributes:
        run: folder of the run: checkpoint, resolved config, metrics.
        init_from: begin with this agent's weights, sizes and tokenizer instead of fresh ones, a
            run's folder or the name of one that is shipped: fine-tuning (App. E). Or with what fits
            of the blocks in a Hugging Face checkpoint's folder (GPT-2's); sizes and tokenizer are
            then as `model` and `tokenizer` say.
        datasets: what the agent is trained on; seeds give the same batches for the same order.
        mixing: what the share of a data set follows: its own weight ("weights"), nothing
            ("uniform"), or how many tokens it has ("by_tokens").
        prompt_share: this share of the windows of control tasks begins with a prompt from another
            episode of the task (§2.3); never where the history is limited.
        acting_prompt_share: this share of the prompts is as in acting, of the beginning of another
            episode before the beginning of this one; the paper has none such.
        history_dropout: this share of the tokens of control tasks is of timesteps that stand alone;
            the paper has none. An agent that always sees its own past learns to copy it.
        model: sizes; its vocabulary follows the tokenizer.
        loss: what counts beside the targets.
        balance: 0 lets every target count the same, as in the paper: a text, all of whose tokens
            are targets, then takes many times its share of what is learned. 1 lets each source
            count as much as its share of the tokens; between them lies what is between.
        steps, max_tokens, max_seconds: the budget: optimiser updates, tokens read, training time.
            The schedule ends with whichever is used up first; None is no limit.
        corrections: so often, after equal parts of the budget, the agent acts in its tasks, their
            experts say at every step what they would have done, and that joins the demonstrations
            (DAgger, Ross et al. 2011; the paper has none). Recording is no training time.
        correction_share: episodes of corrections each time, as a share of the demonstrations.
        batch_rows: rows of `model.context_length` tokens in the global batch.
        microbatches: the global batch is computed in this many equal parts, dealt to the processes;
            the result does not depend on how many processes there are.
        processes: training processes on a CPU; None starts one for each core, as far as the
            microbatches can be dealt out evenly. Ignored on GPUs and under torchrun.
        lora_rank: train adapters of this rank beside the blocks' matrices, and nothing else
            (`mugato[lora]`); 0 trains everything. For what begins with an agent (`init_from`), with
            AdamW.
        shards: over so many processes each weight is split, with its gradient and moments (FSDP2).
            With 1 every process has them all; otherwise neighbors share them, as many groups of
            them as the processes give. Takes AdamW alone, without averages.
        workers: processes that compute batches ahead, for each training process; with 0 a thread
            does. The batches are the same.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
        precision: bf16 (autocast), fp32, or auto: bf16 where the processor multiplies it faster.
        compile: compile the sequence model with torch.compile.
        checkpoint_activations: save memory by computing activations again in the backward pass.
        profile: write where the time of a few steps goes to `trace.json.gz` in the run's folder.
        tracker: where reports go beside the run's folder, which always has TensorBoard's files:
            Weights & Biases or Trackio, whose packages you install.
        seed: of weights, data order and dropout.
        log_every, save_every: in steps.
        held_out: this share of each source's episodes, the last of them, is not trained on. Their
            loss is told every `evaluate_every` steps, and the agent with the lowest mean over the
            sources is kept in `best` in the run's folder.
        play_episodes: so many episodes of each task are played every `evaluate_every` steps, with
            seeds that nothing is trained or scored on, and their mean return is told; 0 plays none.
            Goes with `shards=1`, and is no training time.
        evaluate_every: in steps.
    """

    run: Path = Path("runs/train")
    init_from: Path | None = None
    datasets: Annotated[tuple[DatasetConfig, ...], tyro.conf.Suppress] = ()
    mixing: Literal["weights", "uniform", "by_tokens"] = "weights"
    prompt_share: float = 0.25
    acting_prompt_share: float = 0.0
    history_dropout: float = 0.0
    model: GatoConfig = field(default_factory=GatoConfig.micro)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    balance: float = 0.0
    steps: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    corrections: int = 0
    correction_share: float = 0.25
    batch_rows: int = 32
    microbatches: int = 2
    processes: int | None = None
    lora_rank: int = 0
    shards: int = 1
    workers: int = 0
    device: str = AUTO
    precision: Precision = "auto"
    compile: bool = False
    checkpoint_activations: bool = False
    profile: bool = False
    tracker: Literal["none", "wandb", "trackio"] = "none"
    seed: int = 0
    log_every: int = 10
    save_every: int = 500
    held_out: float = 0.0
    play_episodes: int = 0
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        names = [dataset.name for dataset in self.datasets]
        if not names:
            raise ValueError("nothing to train on: name some tasks or sources")
        if len(set(names)) < len(names):
            raise ValueError(f"two data sets have the same name: {sorted(names)}")
        if self.steps is None and self.max_tokens is None and self.max_seconds is None:
            raise ValueError("no budget: give steps, max_tokens or max_seconds")
        for name in (
            "steps",
            "max_tokens",
            "batch_rows",
            "microbatches",
            "shards",
            "log_every",
            "save_every",
            "evaluate_every",
        ):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        steps = self.planned_steps
        if steps is not None and TRIAL_STEPS <= steps < self.optimizer.warmup_steps:
            raise ValueError(
                f"the rate would still be rising at the end: about {steps:,} steps in all, and "
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps:,}"
            )
        self._check_what_goes_together()
        for name in ("workers", "play_episodes"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if self.corrections < 0 or not self.correction_share > 0:
            raise ValueError(
                f"corrections must be at least 0 and correction_share more than 0, got "
                f"{self.corrections} and {self.correction_share}"
            )
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be in [0, 1), got {self.held_out}")
        for name in ("prompt_share", "acting_prompt_share", "history_dropout", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def _check_what_goes_together(self) -> None:
        if self.shards > 1 and (self.optimizer.muon_lr_factor or self.optimizer.average_share):
            raise ValueError(
                f"shards={self.shards} goes with AdamW and without averaged weights: set "
                "optimizer.muon_lr_factor and optimizer.average_share to 0"
            )
        if self.shards > 1 and self.play_episodes:
            raise ValueError(
                f"shards={self.shards}: split weights cannot play while they are trained; set "
                "play_episodes to 0"
            )
        if self.shards > 1 and self.model.sequence_model == "recurrent":
            raise ValueError(
                f"shards={self.shards}: a recurrent sequence model computes its blocks piece by "
                "piece, which cannot be split; use attention or shards=1"
            )
        if self.lora_rank and (
            self.lora_rank < 0
            or self.init_from is None
            or self.shards > 1
            or self.optimizer.muon_lr_factor
        ):
            raise ValueError(
                f"lora_rank={self.lora_rank}: adapters of a rank from 1 on go beside the weights "
                "that init_from names, with AdamW (optimizer.muon_lr_factor=0) and shards=1"
            )

    @property
    def planned_steps(self) -> int | None:
        """How many steps the budget allows, if it is not one of time alone."""
        places = self.batch_rows * self.model.context_length
        by_tokens = None if self.max_tokens is None else self.max_tokens // places
        return min((n for n in (self.steps, by_tokens) if n is not None), default=None)

    @property
    def rounds(self) -> int:
        """How many data sets of corrections have joined the demonstrations of a task, at most."""
        return max(len(dataset.corrections) for dataset in self.datasets)

    @property
    def until(self) -> float:
        """The share of the budget after which corrections are due; 1 where none are."""
        return (self.rounds + 1) / (self.corrections + 1) if self.rounds < self.corrections else 1.0

    @staticmethod
    def from_json(data: Any, where: str) -> "TrainConfig":
        """Build a configuration from what `dataclasses.asdict` gave, after its way through JSON.

        Raises:
            ValueError: for an unknown key or a value that is refused, naming `where` it stands.
        """
        return from_json(TrainConfig, data, where)
