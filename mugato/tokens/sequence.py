"""Timesteps to one flat sequence of tokens (Reed et al. 2022, §2.1, §2.3).

Within a timestep: text, images, discrete and continuous values (each in lexicographical order of
their keys), separator, action. A timestep without observation (plain text) has no separator. The
same function encodes for training and for acting.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mugato.episode import Episode
from mugato.spec import Spec
from mugato.tokens.timesteps import Timesteps, TokenizedLeaf, tokenize
from mugato.tokens.tokenizer import Tokenizer
from mugato.tokens.vocab import Vocab

NUM_LOCAL_POSITIONS = 512
# Every action token shares this one encoding, whatever its place (App. C.3).
ACTION_POSITION = NUM_LOCAL_POSITIONS
# Layouts that are remembered, one for each shape of a sequence; of 1,024 tokens each takes 60 kB.
NUM_LAYOUTS = 512


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """One encoded piece of an episode or document.

    Attributes:
        ids: (L,): token ids; 0 where the token is an image patch.
        targets: (L,): the id that follows each token.
        loss_mask: (L,): where that target counts: it is a text target or an action.
        observation_mask: (L,): where the id that follows belongs to an observation (a patch has no
            id, and the separator tells nothing).
        patch_index: (L,): row of `patches`; -1 where the token is an id.
        patches: (P, channels) uint8 pixels.
        intervals: (L, 4): row and column interval of each patch, in 128 levels; 0 elsewhere.
        local_positions: (L,): place within the timestep's observation, or ACTION_POSITION.
        timesteps: (L,): which timestep a token belongs to.
        segments: (L,): tokens see only those of their own segment; one segment unless the history
            is limited.
        positions: (L,): index of each token within its segment.
        leaf_index: (L,): which leaf, counted in the order above (separator and actions included).
        source: number of the data source, for metrics.
    """

    ids: Int[np.ndarray, " L"]
    targets: Int[np.ndarray, " L"]
    loss_mask: Bool[np.ndarray, " L"]
    observation_mask: Bool[np.ndarray, " L"]
    patch_index: Int[np.ndarray, " L"]
    patches: UInt8[np.ndarray, "P channels"]
    intervals: Int[np.ndarray, "L 4"]
    local_positions: Int[np.ndarray, " L"]
    timesteps: Int[np.ndarray, " L"]
    segments: Int[np.ndarray, " L"]
    positions: Int[np.ndarray, " L"]
    leaf_index: Int[np.ndarray, " L"]
    source: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def sequence(
    timesteps: Timesteps, vocab: Vocab, *, history: int | None = None, source: int = 0
) -> TokenSequence:
    """Flatten timesteps into one sequence, cut into segments of `history` timesteps.

    Without actions (an observation to act on) the sequence ends with the separator. Where all
    timesteps have the same number of tokens, as nearly always, all but the ids and the pixels was
    worked out before; those arrays are shared and cannot be written to.

    Raises:
        ValueError: if an observation has more tokens than there are local positions.
    """
    leaves = [*timesteps.observations.values(), *timesteps.actions.values()]
    num_steps = len(timesteps)
    if not all(_is_even(leaf, num_steps) for leaf in leaves):
        return ragged_sequence(timesteps, vocab, history=history, source=source)
    shapes = tuple(
        _LeafShape(
            num_tokens=leaf.tokens.shape[1],
            intervals=None if leaf.intervals is None else leaf.intervals.astype(np.int16).tobytes(),
        )
        for leaf in leaves
    )
    layout = _layout(num_steps, shapes, len(timesteps.observations), vocab, history)
    ids = _even_ids(timesteps, vocab)
    targets = np.zeros_like(ids)
    targets[:-1] = ids[1:]
    pixels = [leaf.tokens for leaf in leaves if leaf.intervals is not None]
    patches = [tokens.reshape(-1, tokens.shape[2]) for tokens in pixels] or [layout.patches]
    patches = patches[0] if len(patches) == 1 else np.concatenate(patches)
    return replace(layout, ids=ids, targets=targets, patches=patches, source=source)


def ragged_sequence(
    timesteps: Timesteps, vocab: Vocab, *, history: int | None = None, source: int = 0
) -> TokenSequence:
    """The same as `sequence` for any timesteps, all worked out anew."""
    blocks = list(_blocks(timesteps, vocab))
    num_leaves = len(blocks)
    # Each block is in time order already; a stable sort by (timestep, slot) interleaves them.
    order = np.argsort(
        np.concatenate([b.timesteps * num_leaves + i for i, b in enumerate(blocks)]),
        kind="stable",
    )
    ids = np.concatenate([b.ids for b in blocks])[order]
    is_action = np.concatenate([np.full(len(b.ids), b.is_action) for b in blocks])[order]
    steps = np.concatenate([b.timesteps for b in blocks])[order]
    patches, patch_index = _gather_patches(blocks, order)
    segments = steps // (history or len(timesteps))
    is_observed = ~is_action & (patch_index < 0) & (ids != vocab.separator)
    same_segment = segments[1:] == segments[:-1]
    return TokenSequence(
        ids=ids,
        targets=np.append(ids[1:], 0).astype(np.int32),
        loss_mask=np.append(is_action[1:], False),
        observation_mask=np.append(is_observed[1:] & same_segment, False),
        patch_index=patch_index,
        patches=patches,
        intervals=np.concatenate([b.intervals for b in blocks])[order],
        local_positions=_local_positions(steps, is_action),
        timesteps=steps,
        segments=segments,
        positions=np.arange(len(ids)) - np.searchsorted(segments, segments),
        leaf_index=np.concatenate([np.full(len(b.ids), i) for i, b in enumerate(blocks)])[order],
        source=source,
    )


def encode(
    episode: Episode,
    spec: Spec,
    tokenizer: Tokenizer,
    *,
    history: int | None = None,
    source: int = 0,
) -> TokenSequence:
    """Turn an episode (or an observation to act on) into tokens: `tokenize`, then `sequence`."""
    timesteps = tokenize(episode, spec, tokenizer)
    return sequence(timesteps, tokenizer.vocab, history=history, source=source)


def check_fits(counts: Int[np.ndarray, " t"], *, context_length: int, name: str) -> None:
    """Refuse timesteps that a model could never see whole: ValueError, saying what to do."""
    longest = int(np.max(counts, initial=0))
    if longest > context_length:
        raise ValueError(
            f"{name}: one timestep takes {longest} tokens, but the context holds {context_length}; "
            "shrink the images (--tokenizer.max-patches), leave out observations with a wrapper, "
            "or raise --model.context-length"
        )


def check_observation_fits(num_tokens: int, *, name: str) -> None:
    """Refuse an observation, its separator counted, of more tokens than there are positions."""
    if num_tokens > NUM_LOCAL_POSITIONS:
        raise ValueError(
            f"{name} takes {num_tokens} tokens, but there are {NUM_LOCAL_POSITIONS} local "
            "positions; shrink the images (--tokenizer.max-patches) or leave out observations"
        )


@dataclass(frozen=True, kw_only=True)
class _LeafShape:
    """What of a leaf decides where its tokens stand: their number, and a picture's intervals."""

    num_tokens: int
    intervals: bytes | None


def _is_even(leaf: TokenizedLeaf, num_steps: int) -> bool:
    """Whether every timestep has as many tokens of the leaf."""
    steps, num_tokens, _ = leaf.tokens.shape
    if steps != num_steps:
        return False
    return leaf.kind != "text" or steps == 1 or bool((leaf.lengths == num_tokens).all())


@lru_cache(maxsize=NUM_LAYOUTS)
def _layout(
    num_steps: int,
    shapes: tuple[_LeafShape, ...],
    num_observed: int,
    vocab: Vocab,
    history: int | None,
) -> TokenSequence:
    """The sequence of blank timesteps of these shapes."""
    leaves = {str(i): _blank_leaf(num_steps, shape) for i, shape in enumerate(shapes)}
    names = list(leaves)
    blank = Timesteps(
        observations={name: leaves[name] for name in names[:num_observed]},
        actions={name: leaves[name] for name in names[num_observed:]},
    )
    layout = ragged_sequence(blank, vocab, history=history)
    for array in vars(layout).values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return layout


def _blank_leaf(num_steps: int, shape: _LeafShape) -> TokenizedLeaf:
    lengths = np.full(num_steps, shape.num_tokens)
    if shape.intervals is None:
        ids = np.zeros((num_steps, shape.num_tokens, 1), np.int32)
        return TokenizedLeaf(kind="discrete", tokens=ids, lengths=lengths)
    pixels = np.zeros((num_steps, shape.num_tokens, 0), np.uint8)
    intervals = np.frombuffer(shape.intervals, np.int16).reshape(-1, 4)
    return TokenizedLeaf(kind="image", tokens=pixels, lengths=lengths, intervals=intervals)


def _even_ids(timesteps: Timesteps, vocab: Vocab) -> np.ndarray:
    """All ids in order: one row of a table is one timestep."""
    num_steps = len(timesteps)
    columns = [_columns(leaf) for leaf in timesteps.observations.values()]
    if columns:
        columns.append(np.full((num_steps, 1), vocab.separator, np.int32))
    columns += [_columns(leaf) for leaf in timesteps.actions.values()]
    return np.concatenate(columns, axis=1, dtype=np.int32).reshape(-1)


def _columns(leaf: TokenizedLeaf) -> np.ndarray:
    if leaf.intervals is None:
        return leaf.tokens[:, :, 0]
    return np.zeros(leaf.tokens.shape[:2], np.int32)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """All tokens of one leaf (or of the separator), in time order."""

    ids: np.ndarray
    timesteps: np.ndarray
    intervals: np.ndarray
    patches: np.ndarray | None
    is_action: bool


def _blocks(timesteps: Timesteps, vocab: Vocab) -> Iterator[_Block]:
    for leaf in timesteps.observations.values():
        yield _leaf_block(leaf, is_action=False)
    if timesteps.observations:
        steps = np.arange(len(timesteps))
        yield _Block(
            ids=np.full(len(steps), vocab.separator, np.int32),
            timesteps=steps,
            intervals=np.zeros((len(steps), 4), np.int16),
            patches=None,
            is_action=False,
        )
    for leaf in timesteps.actions.values():
        yield _leaf_block(leaf, is_action=True)


def _leaf_block(leaf: TokenizedLeaf, *, is_action: bool) -> _Block:
    num_steps, num_tokens, _ = leaf.tokens.shape
    real = np.arange(num_tokens)[None, :] < leaf.lengths[:, None]
    tokens = leaf.tokens[real]
    steps = np.repeat(np.arange(num_steps), leaf.lengths)
    if leaf.intervals is None:
        ids, patches = tokens[:, 0].astype(np.int32), None
        intervals = np.zeros((len(ids), 4), np.int16)
    else:
        ids, patches = np.zeros(len(tokens), np.int32), tokens
        intervals = np.tile(leaf.intervals, (num_steps, 1)).astype(np.int16)
    return _Block(
        ids=ids, timesteps=steps, intervals=intervals, patches=patches, is_action=is_action
    )


def _gather_patches(blocks: list[_Block], order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All patches, and each token's row among them."""
    patches = [b.patches for b in blocks if b.patches is not None]
    starts = np.cumsum([0, *map(len, patches)])
    numbered = iter(starts)
    index = [
        np.full(len(b.ids), -1) if b.patches is None else next(numbered) + np.arange(len(b.ids))
        for b in blocks
    ]
    stacked = np.concatenate(patches) if patches else np.zeros((0, 0), np.uint8)
    return stacked, np.concatenate(index)[order]


def _local_positions(steps: np.ndarray, is_action: np.ndarray) -> np.ndarray:
    starts = np.searchsorted(steps, steps)
    positions = np.where(is_action, ACTION_POSITION, np.arange(len(steps)) - starts)
    check_observation_fits(int(positions[~is_action].max(initial=-1)) + 1, name="an observation")
    return positions.astype(np.int32)
