"""Sizes of the model: the paper's three and our own two (Reed et al. 2022, App. C.1)."""

from dataclasses import dataclass

from mugato.tokens.images import MAX_LEVELS, NUM_LEVELS
from mugato.tokens.vocab import Vocab

# `sequence_model` names of Hugging Face models begin with this.
HUGGING_FACE = "hf:"
# Discrete values share their ids with text: the tied table has 33,025 rows (§2.1).
PAPER_VOCAB = Vocab(discrete_overlaps_text=True)


@dataclass(frozen=True, kw_only=True)
class GatoConfig:
    """Everything that decides the shape of the weights (App. C.1).

    >>> config = GatoConfig.large()
    >>> config.width, config.num_layers, config.num_heads, config.hidden_size, config.vocab.size
    (2048, 24, 16, 8192, 33025)

    Attributes:
        vocab: the token-id ranges; the tied table has one row for each id.
        width: size of every token's vector.
        num_layers: transformer blocks.
        num_heads, head_size: attention heads and the key/value size of each.
        hidden_size: of the feed-forward layer, both halves of the GEGLU counted.
        context_length: tokens that the model sees.
        memory_length: tokens beyond the context that are still seen when acting (§2.5); for
            "transformer-xl" only, and never in training.
        bias: whether the linear layers of the sequence model have biases.
        output_projection: whether a linear layer, a rotation at first, lies between the last norm
            and the tied head. Without one a fresh model expects what it just read, again.
        patch_px: side of an image patch.
        patch_width: channels inside the ResNet blocks.
        patch_groups: groups of channels that their group norms normalize together (App. C.2).
        num_residual_blocks: how many ResNet blocks a patch goes through; the paper does not say.
        patch_reduced: channels that the block's output is reduced to at each place, before all
            places together become one vector; None leaves them as they are.
        patch_levels: levels that a patch's place in its image is told in: the rows of the row and
            of the column table (App. C.3). The tokenizer cuts images into as many.
        dropout: after the embedding and each sub-layer, in training.
        stochastic_depth: probability of skipping a sub-layer for a row, in training.
        sequence_model: "rotary", "transformer-xl", "recurrent", or "hf:" with a model type of
            Hugging Face's ("hf:gpt2") or a folder of pretrained weights; or a class of your own,
            "package.module:Class" (`examples/sequence_model.py`).
    """

    vocab: Vocab = PAPER_VOCAB
    width: int = 768
    num_layers: int = 8
    num_heads: int = 24
    head_size: int = 32
    hidden_size: int = 3072
    context_length: int = 1024
    memory_length: int = 0
    bias: bool = True
    output_projection: bool = False
    patch_px: int = 16
    patch_width: int = 160
    patch_groups: int = 32
    num_residual_blocks: int = 1
    patch_reduced: int | None = 16
    patch_levels: int = NUM_LEVELS
    dropout: float = 0.1
    stochastic_depth: float = 0.1
    sequence_model: str = "transformer-xl"

    def __post_init__(self) -> None:
        if self.sequence_model == "rotary" and self.head_size % 2:
            raise ValueError(f"head_size must be even for rotary positions, got {self.head_size}")
        self._check_patches()
        if self.is_relative and self.width % 2:
            raise ValueError(f"width must be even for transformer-xl, got {self.width}")
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size counts two equal halves, got {self.hidden_size}")
        if self.memory_length and not self.is_relative:
            raise ValueError(f"memory_length is for transformer-xl, not {self.sequence_model!r}")
        if self.memory_length < 0:
            raise ValueError(f"memory_length must not be negative, got {self.memory_length}")
        for name in ("width", "num_layers", "num_heads", "head_size", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def _check_patches(self) -> None:
        for name in ("patch_width", "patch_groups", "num_residual_blocks", "patch_levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.patch_width % self.patch_groups:
            raise ValueError(
                f"patch_width must be a multiple of {self.patch_groups} groups (patch_groups), "
                f"got {self.patch_width}"
            )
        if self.patch_px % 4 or self.patch_px < 4:
            raise ValueError(f"patch_px must be a multiple of 4, got {self.patch_px}")
        if self.patch_levels > MAX_LEVELS:
            raise ValueError(f"patch_levels must be at most {MAX_LEVELS}, got {self.patch_levels}")

    @property
    def is_relative(self) -> bool:
        """Whether distances enter attention as in Transformer-XL."""
        return self.sequence_model == "transformer-xl"

    @staticmethod
    def micro(vocab: Vocab = Vocab(num_text=8192)) -> "GatoConfig":
        """Return our smallest: 7 M parameters, for CPUs and quick demonstrations."""
        return GatoConfig(
            vocab=vocab,
            width=256,
            num_layers=4,
            num_heads=4,
            head_size=64,
            hidden_size=1024,
            context_length=256,
            bias=False,
            output_projection=True,
            patch_px=32,
            patch_width=64,
            patch_reduced=None,
            dropout=0.0,
            stochastic_depth=0.0,
            sequence_model="rotary",
        )

    @staticmethod
    def mini(vocab: Vocab = Vocab()) -> "GatoConfig":
        """Return our 34 M parameters, an afternoon on one GPU."""
        return GatoConfig(
            vocab=vocab,
            width=512,
            num_layers=6,
            num_heads=8,
            head_size=64,
            hidden_size=2048,
            bias=False,
            output_projection=True,
            patch_width=64,
            patch_reduced=None,
            sequence_model="rotary",
        )

    @staticmethod
    def small(vocab: Vocab = PAPER_VOCAB) -> "GatoConfig":
        """Return the paper's 79M column (App. C.1)."""
        return GatoConfig(vocab=vocab)

    @staticmethod
    def baseline(vocab: Vocab = PAPER_VOCAB) -> "GatoConfig":
        """Return the paper's 364M column."""
        return GatoConfig(
            vocab=vocab, width=1536, num_layers=12, num_heads=12, head_size=128, hidden_size=6144
        )

    @staticmethod
    def large(vocab: Vocab = PAPER_VOCAB) -> "GatoConfig":
        """Return the paper's 1.18B column."""
        return GatoConfig(
            vocab=vocab, width=2048, num_layers=24, num_heads=16, head_size=128, hidden_size=8192
        )
