"""Tokens and image patches to vectors (Reed et al. 2022, §2.2, App. C.2, C.3)."""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mugato.tokens.images import NUM_LEVELS
from mugato.tokens.sequence import ACTION_POSITION
from mugato.tokens.vocab import Vocab

# Standard deviation of a fresh model's logits: its first loss is that of a uniform guess. What goes
# in is multiplied by √width, as in Transformer-XL, so that what a token is is not drowned by what
# the first layers add to it.
LOGIT_STD = 0.32
# The continuous rows begin this much larger: 1,024 neighbors are told apart by sharp peaks alone.
CONTINUOUS_GAIN = 4.0


def init_std(width: int) -> float:
    """Return the standard deviation of every table whose rows are added up to a token's vector."""
    return LOGIT_STD / math.sqrt(width)


class DiscreteEmbedding(nn.Module):
    """The table of text, discrete and continuous tokens; also the rows of the tied head (§2.2).

    >>> embedding = DiscreteEmbedding(Vocab(), width=8)
    >>> embedding(torch.tensor([[624, 32_512]])).shape
    torch.Size([1, 2, 8])

    The continuous rows start as random smooth functions of the bin's centre, so that neighbouring
    bins are alike before training; the paper is silent about initialisation.
    """

    def __init__(self, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab.size, width)
        nn.init.normal_(self.table.weight, std=init_std(width))
        bins = vocab.continuous
        rows = CONTINUOUS_GAIN * init_std(width) * smooth_rows(len(bins), width)
        with torch.no_grad():
            self.table.weight[bins.start : bins.stop] = rows

    def forward(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        return self.table(ids)


class ResidualEmbedding(nn.Module):
    """One vector per patch: v2 ResNet blocks with GroupNorm and GELU, one of them (App. C.2).

    How many blocks there are and how a patch is widened and reduced around them is left open by the
    paper: here a 4x4 convolution with stride 4 widens it. Behind the blocks each of the 4x4 places
    is reduced to `reduced` channels (None: not), and one linear layer over all places gives the
    vector. The first block's weights are this module's own, those of the others are in `more`.

    >>> block = ResidualEmbedding(patch_px=16, channels=32, width=8)
    >>> block(torch.zeros(5, 768, dtype=torch.uint8)).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        *,
        patch_px: int,
        channels: int,
        width: int,
        reduced: int | None = None,
        groups: int = 32,
        num_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.widen = nn.Linear(4 * 4 * 3, channels)
        _add_residual_block(self, channels, groups)
        self.narrow = nn.Identity() if reduced is None else nn.Linear(channels, reduced)
        self.reduce = nn.Linear((reduced or channels) * (patch_px // 4) ** 2, width)
        nn.init.normal_(
            self.reduce.weight, std=init_std(width) / math.sqrt(self.reduce.in_features)
        )
        nn.init.zeros_(self.reduce.bias)
        self.more = nn.ModuleList(nn.Module() for _ in range(num_blocks - 1))
        for block in self.more:
            _add_residual_block(block, channels, groups)

    def forward(self, patches: UInt8[Tensor, "P pixels"]) -> Float[Tensor, "P width"]:
        """Embed raw uint8 patches; pixels are scaled to [-1, 1] and divided by √16 = 4 (§2.1)."""
        side = self.patch_px // 4
        x = (patches.to(self.widen.weight.dtype) / 127.5 - 1) / math.sqrt(self.patch_px)
        # A 4x4 convolution with stride 4, written as a matrix product: faster on every device.
        x = rearrange(x, "p (r u c v d) -> p (r c) (u v d)", r=side, u=4, c=side, v=4, d=3)
        x = rearrange(self.widen(x), "p (r c) d -> p d r c", r=side)
        blocks: list[Any] = [self, *self.more]
        for block in blocks:
            y = block.conv_1(F.gelu(block.norm_1(x)))
            x = x + block.conv_2(F.gelu(block.norm_2(y)))
        x = self.narrow(rearrange(x, "p d r c -> p (r c) d"))
        return self.reduce(rearrange(x, "p s d -> p (s d)"))


class PatchPositionEncoding(nn.Module):
    """A row and a column vector for each patch (App. C.3).

    In training an index is drawn uniformly from the patch's interval; in evaluation its rounded
    mean is taken. The intervals of the paper's example, an image of 64x80 pixels with 4x5 patches:

    >>> from mugato.tokens.images import ImageTokenizer
    >>> intervals = torch.from_numpy(ImageTokenizer().intervals((64, 80))).long()
    >>> intervals[::5, :2].tolist()
    [[0, 32], [32, 64], [64, 96], [96, 128]]
    >>> intervals[:5, 2:].tolist()
    [[0, 26], [26, 51], [51, 77], [77, 102], [102, 128]]
    >>> encoding = PatchPositionEncoding(8).eval()
    >>> encoding(intervals).shape
    torch.Size([20, 8])
    >>> torch.equal(encoding(intervals)[0], encoding.rows.weight[16] + encoding.columns.weight[13])
    True
    """

    def __init__(self, width: int, num_levels: int = NUM_LEVELS) -> None:
        super().__init__()
        self.rows = nn.Embedding(num_levels, width)
        self.columns = nn.Embedding(num_levels, width)
        for table in (self.rows, self.columns):
            nn.init.normal_(table.weight, std=init_std(width))

    def forward(self, intervals: Int[Tensor, "*N 4"]) -> Float[Tensor, "*N width"]:
        start, stop = intervals[..., 0::2], intervals[..., 1::2]
        if self.training:
            drawn = torch.rand(start.shape, device=start.device)
            index = start + (drawn * (stop - start)).long()
        else:
            index = torch.round((start + stop) / 2).long()
        # An interval of less than one level may end where the last level does.
        index = index.clamp(max=self.rows.num_embeddings - 1)
        return self.rows(index[..., 0]) + self.columns(index[..., 1])


class LocalPositionEncoding(nn.Module):
    """A learned vector for each of 512 places in an observation; one for all actions (App. C.3).

    >>> encoding = LocalPositionEncoding(8)
    >>> encoding(torch.tensor([[0, 1, 2, ACTION_POSITION, ACTION_POSITION]])).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(ACTION_POSITION + 1, width)
        nn.init.normal_(self.table.weight, std=init_std(width))

    def forward(self, positions: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape width"]:
        return self.table(positions)


def _add_residual_block(module: nn.Module, channels: int, groups: int) -> None:
    """Give a module the weights of a ResNet block."""
    module.norm_1 = nn.GroupNorm(groups, channels)
    module.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
    module.norm_2 = nn.GroupNorm(groups, channels)
    module.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)


def smooth_rows(num_rows: int, width: int) -> Float[Tensor, "rows width"]:
    """Draw unit-variance rows that change slowly from each to the next: random Fourier features.

    Frequencies are log-uniform from half a wave over the whole range to a wave of 16 rows.
    """
    low, high = math.log(0.25), math.log(num_rows / 32)
    frequency = torch.exp(low + (high - low) * torch.rand(width))
    x = torch.linspace(-1, 1, num_rows, device=frequency.device)[:, None]
    return math.sqrt(2) * torch.sin(2 * math.pi * (frequency * x + torch.rand(width)))
