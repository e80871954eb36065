"""Timesteps to one flat sequence of tokens (Reed et al. 2022, §2.1, §2.3).

Within a timestep: text, images, discrete and continuous values (each in lexicographical order of
their keys), separator, action. A timestep without observation (plain text) has no separator. The
same function encodes for training and for acting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mugato.episode import Episode
from mugato.spec import Spec
from mugato.timesteps import Timesteps, TokenizedLeaf, tokenize
from mugato.tokenizers.tokenizer import Tokenizer
from mugato.vocab import Vocab

NUM_LOCAL_POSITIONS = 512
# Every action token shares this one encoding, whatever its place (App. C.3).
ACTION_POSITION = NUM_LOCAL_POSITIONS


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
        segments: (L,): tokens see only those of their own segment; one segment unless the spec
            limits the history.
        positions: (L,): index of each token within its segment.
        slots: (L,): which leaf, counted in the order above (separator and actions included).
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
    slots: Int[np.ndarray, " L"]
    source: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def sequence(
    timesteps: Timesteps, vocab: Vocab, *, history: int | None = None, source: int = 0
) -> TokenSequence:
    """Flatten timesteps into one sequence, cut into segments of `history` timesteps.

    Without actions (an observation to act on) the sequence ends with the separator.

    Raises:
        ValueError: if an observation has more tokens than there are local positions.
    """
    blocks = list(_blocks(timesteps, vocab))
    num_slots = len(blocks)
    # Each block is in time order already; a stable sort by (timestep, slot) interleaves them.
    order = np.argsort(
        np.concatenate([b.timesteps * num_slots + slot for slot, b in enumerate(blocks)]),
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
        slots=np.concatenate([np.full(len(b.ids), i) for i, b in enumerate(blocks)])[order],
        source=source,
    )


def encode(episode: Episode, spec: Spec, tokenizer: Tokenizer, *, source: int = 0) -> TokenSequence:
    """An episode (or an observation to act on) as one sequence: `tokenize`, then `sequence`."""
    timesteps = tokenize(episode, spec, tokenizer)
    return sequence(timesteps, tokenizer.vocab, history=spec.history, source=source)


def check_fits(counts: Int[np.ndarray, " t"], *, context_length: int, name: str) -> None:
    """Refuse timesteps that a model could never see whole.

    Raises:
        ValueError: naming the task and what to do.
    """
    longest = int(np.max(counts, initial=0))
    if longest > context_length:
        raise ValueError(
            f"{name}: one timestep takes {longest} tokens, but the context holds {context_length}; "
            "shrink the images (--tokenizer.max-patches), leave out observations with a wrapper, "
            "or raise --model.context-length"
        )


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
    longest = int(np.max(positions[~is_action], initial=-1)) + 1
    if longest > NUM_LOCAL_POSITIONS:
        raise ValueError(
            f"an observation takes {longest} tokens, but there are {NUM_LOCAL_POSITIONS} local "
            "positions; shrink the images (--tokenizer.max-patches) or leave out observations"
        )
    return positions.astype(np.int32)
