"""Tokens and image patches to vectors (Reed et al. 2022, §2.2, App. C.2, C.3)."""

import math

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.sequence import ACTION_POSITION
from mugato.tokenizers.image import NUM_LEVELS
from mugato.vocab import Vocab

INIT_STD = 0.02


class DiscreteEmbedding(nn.Module):
    """The lookup table of text, discrete and continuous tokens; also the rows of the tied head.

    The continuous rows start as random smooth functions of the bin's centre, so that neighbouring
    bins are alike before training; the paper is silent about initialisation.
    """

    def __init__(self, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.vocab = vocab
        self.table = nn.Embedding(vocab.size, width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.normal_(self.table.weight, std=INIT_STD)
        bins = self.vocab.continuous
        self.table.weight[bins.start : bins.stop] = INIT_STD * smooth_rows(
            len(bins), self.table.embedding_dim
        )

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        return self.table(ids)


class ResidualEmbedding(nn.Module):
    """One vector per patch: one v2 ResNet block with GroupNorm(32) and GELU (App. C.2).

    How a patch is widened and reduced around the block is left open by the paper: here a 4x4
    convolution with stride 4 widens it, and a linear layer over the block's output reduces it.
    """

    def __init__(self, *, patch_px: int, channels: int, width: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.widen = nn.Linear(4 * 4 * 3, channels)
        self.norm_1 = nn.GroupNorm(32, channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = nn.GroupNorm(32, channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.reduce = nn.Linear(channels * (patch_px // 4) ** 2, width)
        nn.init.normal_(self.reduce.weight, std=INIT_STD / math.sqrt(self.reduce.in_features))
        nn.init.zeros_(self.reduce.bias)

    def forward(self, patches: UInt8[Tensor, "P pixels"]) -> Float[Tensor, "P width"]:
        """Embed raw uint8 patches; pixels are scaled to [-1, 1] and divided by √16 = 4 (§2.1)."""
        side = self.patch_px // 4
        x = (patches.to(self.widen.weight.dtype) / 127.5 - 1) / math.sqrt(self.patch_px)
        # A 4x4 convolution with stride 4, written as a matrix product: faster on every device.
        x = x.view(-1, side, 4, side, 4, 3).transpose(2, 3).reshape(-1, side * side, 48)
        x = self.widen(x).transpose(1, 2).unflatten(2, (side, side))
        y = self.conv_1(F.gelu(self.norm_1(x)))
        x = x + self.conv_2(F.gelu(self.norm_2(y)))
        return self.reduce(x.flatten(1))


class PatchPositionEncoding(nn.Module):
    """Adds a row and a column vector to each patch (App. C.3).

    In training an index is drawn uniformly from the patch's interval; in evaluation its rounded
    mean is taken.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(NUM_LEVELS, width)
        self.columns = nn.Embedding(NUM_LEVELS, width)
        for table in (self.rows, self.columns):
            nn.init.normal_(table.weight, std=INIT_STD)

    def forward(self, intervals: Int[Tensor, "N 4"]) -> Float[Tensor, "N width"]:
        start, stop = intervals[:, 0::2], intervals[:, 1::2]
        if self.training:
            drawn = torch.rand(start.shape, device=start.device)
            index = start + (drawn * (stop - start)).long()
        else:
            index = torch.round((start + stop) / 2).long()
        index = index.clamp(max=NUM_LEVELS - 1)  # an interval of one level may end at 128
        return self.rows(index[:, 0]) + self.columns(index[:, 1])


class LocalPositionEncoding(nn.Module):
    """A learned vector for each place within the observation; one for all actions (App. C.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(ACTION_POSITION + 1, width)
        nn.init.normal_(self.table.weight, std=INIT_STD)

    def forward(self, positions: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        return self.table(positions)


def smooth_rows(num_rows: int, width: int) -> Float[Tensor, "rows width"]:
    """Unit-variance rows that change slowly from each to the next: random Fourier features.

    Frequencies are log-uniform from half a wave over the whole range to a wave of 16 rows.
    """
    x = torch.linspace(-1, 1, num_rows)[:, None]
    low, high = math.log(0.25), math.log(num_rows / 32)
    frequency = torch.exp(low + (high - low) * torch.rand(width))
    return math.sqrt(2) * torch.sin(2 * math.pi * (frequency * x + torch.rand(width)))
