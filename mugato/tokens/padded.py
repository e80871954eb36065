"""µGATO's batches: a dictionary of padded tensors, (batch, timesteps, tokens, channels).

µGATO, a small Gato that this project grew from, calls the timesteps *episodes*. Ids have 1 channel
and are those of the vocabulary; patches have their pixels, uint8. Padding is -1 among the ids. A
timestep whose ids are all padding is padding, its patches too. It is a second door to `pad`, for
those who have tensors and no environment; it knows no model.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mugato.tokens.batch import Batch
from mugato.tokens.images import NUM_LEVELS, ImageTokenizer
from mugato.tokens.packing import pad
from mugato.tokens.sequence import sequence
from mugato.tokens.timesteps import Timesteps, TokenizedLeaf
from mugato.tokens.vocab import Vocab

# The keys that are learned, those nested below them ("action/grip") included. All others are seen.
ACTIONS = ("action", "text", "caption", "answer")
PADDING = -1


def collate(examples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Pad examples of (timesteps, tokens, channels) a key to one tensor a key, the batch first.

    Patches may come as (timesteps, rows, columns, channels).

    Raises:
        ValueError: examples of different keys, of other shapes, or whose keys disagree about the
            number of timesteps.

    >>> two, three = torch.arange(8).view(2, 4, 1), torch.arange(9).view(3, 3, 1)
    >>> padded = collate([{"mission": two}, {"mission": three}])["mission"]
    >>> padded.shape, padded[0, 2, :, 0].tolist(), padded[1, 0, :, 0].tolist()
    (torch.Size([2, 3, 4, 1]), [-1, -1, -1, -1], [0, 1, 2, -1])
    """
    names = list(examples[0])
    for example in examples:
        if set(example) != set(names):
            raise ValueError(f"examples must have the same keys: {sorted(example)} != {names}")
        lengths = {name: len(tensor) for name, tensor in example.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the keys of an example differ in their timesteps: {lengths}")
    return {name: _stacked(name, [example[name] for example in examples]) for name in names}


def batch_of_tensors(
    tensors: Mapping[str, Tensor],
    vocab: Vocab,
    *,
    actions: Collection[str] = ACTIONS,
    num_levels: int = NUM_LEVELS,
) -> Batch:
    """Lay padded tensors into one row for each example, as `pad` does.

    In each timestep come the observations, in the order of the dictionary, the separator that
    µGATO has not (a document, which observes nothing, has none either), then the actions.

    Args:
        tensors: (batch, timesteps, tokens, 1) ids, padded with -1; or patches, uint8, of pictures
            with as many rows as columns, or (batch, timesteps, rows, columns, channels).
        actions: the keys whose tokens are learned.
        num_levels: the model's `patch_levels`.

    Raises:
        ValueError: tensors of other shapes or types, ids outside the vocabulary, padding that is
            not at the end, or patches whose rows are unknown; names the key.
    """
    sizes = {name: tuple(tensor.shape[:2]) for name, tensor in tensors.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the keys must agree in batch and timesteps, got {sizes}")
    by_key = [_leaves(name, t.cpu(), vocab, num_levels) for name, t in tensors.items()]
    rows = (dict(zip(tensors, leaves, strict=True)) for leaves in zip(*by_key, strict=True))
    return pad([sequence(_timesteps(row, actions), vocab) for row in rows])


def _timesteps(leaves: Mapping[str, TokenizedLeaf], actions: Collection[str]) -> Timesteps:
    """Take one example without its timesteps of padding."""
    ids = [leaf.lengths > 0 for leaf in leaves.values() if leaf.intervals is None]
    count = int(np.any(ids, axis=0).sum()) if ids else len(next(iter(leaves.values())).tokens)
    if not count or (ids and not np.any(ids, axis=0)[:count].all()):
        raise ValueError("timesteps of padding must come after those of an example")
    cut = {
        name: replace(leaf, tokens=leaf.tokens[:count], lengths=leaf.lengths[:count])
        for name, leaf in leaves.items()
    }
    learned = {name: leaf for name, leaf in cut.items() if name.partition("/")[0] in actions}
    seen = {name: leaf for name, leaf in cut.items() if name not in learned}
    return Timesteps(observations=seen, actions=learned)


def _stacked(name: str, tensors: list[Tensor]) -> Tensor:
    first = tensors[0]
    if {t.ndim for t in tensors} - {3, 4} or len({(t.ndim, t.shape[-1]) for t in tensors}) > 1:
        shapes = [tuple(t.shape) for t in tensors]
        raise ValueError(f"{name} must be (timesteps, tokens, channels) each, got {shapes}")
    blank = 0 if first.dtype == torch.uint8 else PADDING
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    if first.dtype == torch.uint8 and any(t.shape[1:] != first.shape[1:] for t in tensors):
        raise ValueError(f"{name}: pictures of one batch must have as many patches each")
    padded = first.new_full((len(tensors), *shape), blank)
    for row, tensor in zip(padded, tensors, strict=True):
        row[tuple(map(slice, tensor.shape))] = tensor
    return padded


def _leaves(name: str, tensor: Tensor, vocab: Vocab, num_levels: int) -> list[TokenizedLeaf]:
    """Check a tensor and take it apart, example by example."""
    if tensor.dtype == torch.uint8:
        return _patches(name, tensor, num_levels)
    if tensor.ndim != 4 or tensor.shape[3] != 1 or tensor.is_floating_point():
        raise ValueError(
            f"{name} must be ids of shape (batch, timesteps, tokens, 1), or patches in uint8; got "
            f"{tensor.dtype} of {tuple(tensor.shape)}"
        )
    ids = tensor.numpy()
    real = ids[..., 0] != PADDING
    if (real[..., 1:] > real[..., :-1]).any():
        raise ValueError(f"{name}: padding ({PADDING}) must come after the ids")
    if real.any() and not (ids[real].min() >= 0 and ids[real].max() < vocab.size):
        raise ValueError(
            f"{name} holds ids from {ids[real].min()} to {ids[real].max()}, but the vocabulary "
            f"those from 0 to {vocab.size - 1}, and padding is {PADDING}"
        )
    pairs = zip(ids.astype(np.int32), real.sum(axis=-1), strict=True)
    return [TokenizedLeaf(kind="text", tokens=tokens, lengths=n) for tokens, n in pairs]


def _patches(name: str, tensor: Tensor, num_levels: int) -> list[TokenizedLeaf]:
    if tensor.ndim == 5:
        rows, columns = tensor.shape[2:4]
    elif tensor.ndim == 4 and (side := math.isqrt(tensor.shape[2])) ** 2 == tensor.shape[2]:
        rows, columns = side, side
    else:
        raise ValueError(
            f"{name}: where these patches lie in their picture is unknown: {tuple(tensor.shape)}; "
            "give (batch, timesteps, rows, columns, channels)"
        )
    intervals = ImageTokenizer(patch_px=1, num_levels=num_levels).intervals((rows, columns))
    patches = tensor.reshape(*tensor.shape[:2], rows * columns, -1).numpy()
    lengths = np.full(tensor.shape[1], rows * columns)
    return [
        TokenizedLeaf(kind="image", tokens=tokens, lengths=lengths, intervals=intervals)
        for tokens in patches
    ]
