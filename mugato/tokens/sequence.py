"""Timesteps to one flat sequence of tokens (Reed et al. 2022, §2.1, §2.3).

Within a timestep: text, images, discrete and continuous values (each in lexicographical order of
their keys), separator, action. A timestep without observation (plain text) has no separator. The
same function encodes for training and for acting.

Where something else was executed than the action that is to be learned (Ross et al. 2011: an expert
corrects an agent; Laskey et al. 2017: noise), a sequence has room for one of the two, but the
*targets* are always the action's. What the model reads:

- In timesteps that others follow, what was executed: acting, an agent finds its own past there.
- In the last timestep of a segment, which no other one sees, the action itself: each of its tokens
  is learned from those before it, as where both are the same. With a history of one timestep that
  is every timestep.

So an action of one token, such as a button, is always learned from exactly what an agent will see.
Of one of several tokens, where the two have differed in a discrete value, the rest of that
timestep's targets do not count: they would answer a choice that was not made. Where they have
differed in a continuous value the rest does count: that is what the expert would do in this state
whatever was done by the other joints, and to drop it would leave all but the first of them, under
noise, with one target a window.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from einops import rearrange
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
    """One encoded piece of an episode or document: L tokens, P of them image patches.

    Attributes:
        ids: (L,): token ids; 0 where the token is an image patch.
        targets: (L,): the id that follows each token, or should where another action was executed.
        loss_mask: (L,): where that target counts: it is a text target or an action.
        observation_mask: (L,): where the id that follows belongs to an observation (a patch has no
            id, and the separator tells nothing).
        patch_index: (L,): row of `patches`; -1 where the token is an id.
        patches: (P, channels) uint8 pixels.
        intervals: (L, 4): row and column interval of each patch, in levels; 0 elsewhere.
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
    """Flatten timesteps into one sequence, cut into segments of `history` timesteps (§2.1).

    Without actions (an observation to act on) the sequence ends with the separator. All but the
    ids and the pixels depends on the leaves' shapes alone and is remembered with them; those arrays
    are shared and cannot be written to.

    Raises:
        ValueError: if an observation has more tokens than there are local positions.
    """
    observed = list(timesteps.observations.values())
    if observed:
        observed.append(_separators(len(timesteps), vocab))
    leaves = [*observed, *timesteps.actions.values()]
    layout = _layout(tuple(map(_shape, leaves)), len(observed), history)
    ids = taught = np.concatenate([_ids(leaf) for leaf in leaves], dtype=np.int32)[layout.order]
    arrays = layout.arrays
    if timesteps.executed:
        read, counts = _read_and_counts(timesteps, history)
        ids = np.concatenate([_ids(leaf) for leaf in (*observed, *read)], dtype=np.int32)
        ids, counts = ids[layout.order], np.pad(counts, (len(ids) - len(counts), 0))[layout.order]
        arrays = {**arrays, "loss_mask": np.append(counts[1:], False)}
    targets = np.zeros_like(ids)
    targets[:-1] = taught[1:]
    patches = [rearrange(x.tokens, "t n c -> (t n) c") for x in leaves if x.intervals is not None]
    patches = patches or [np.zeros((0, 0), np.uint8)]
    return TokenSequence(
        ids=ids,
        targets=targets,
        patches=patches[0] if len(patches) == 1 else np.concatenate(patches),
        source=source,
        **arrays,
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
    """Refuse timesteps that a model could never see whole.

    Raises:
        ValueError: if one takes more tokens than the context holds, saying what to do.
    """
    longest = int(np.max(counts, initial=0))
    if longest > context_length:
        raise ValueError(
            f"{name}: one timestep takes {longest} tokens, but the context holds {context_length}; "
            "shrink the images (--tokenizer.max-patches), leave out observations with a wrapper, "
            "or raise --model.context-length"
        )


def check_observation_fits(num_tokens: int, *, name: str) -> None:
    """Refuse an observation of more tokens, its separator counted, than there are positions.

    Raises:
        ValueError: if it is one, saying what to do.
    """
    if num_tokens > NUM_LOCAL_POSITIONS:
        raise ValueError(
            f"{name} takes {num_tokens} tokens, but there are {NUM_LOCAL_POSITIONS} local "
            "positions; shrink the images (--tokenizer.max-patches) or leave out observations"
        )


@dataclass(frozen=True, kw_only=True)
class _LeafShape:
    """What of a leaf decides where its tokens stand.

    Attributes:
        lengths: bytes of its tokens at each timestep, int64.
        intervals: bytes of a picture's intervals, int16; None for ids.
    """

    lengths: bytes
    intervals: bytes | None


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the tokens of some leaves stand.

    Attributes:
        order: of the tokens, which come leaf by leaf, in the sequence.
        arrays: the fields of the `TokenSequence` that follow from the shapes.
    """

    order: Int[np.ndarray, " tokens"]
    arrays: dict[str, np.ndarray]


def _separators(num_timesteps: int, vocab: Vocab) -> TokenizedLeaf:
    """Make a leaf of one separator a timestep."""
    tokens = np.full((num_timesteps, 1, 1), vocab.separator, np.int32)
    return TokenizedLeaf(kind="discrete", tokens=tokens, lengths=np.ones(num_timesteps, np.int64))


def _shape(leaf: TokenizedLeaf) -> _LeafShape:
    return _LeafShape(
        lengths=leaf.lengths.astype(np.int64, copy=False).tobytes(),
        intervals=None if leaf.intervals is None else leaf.intervals.astype(np.int16).tobytes(),
    )


def _ids(leaf: TokenizedLeaf) -> np.ndarray:
    """Return a leaf's real ids in time order; 0 for each patch."""
    timesteps, num_tokens, _ = leaf.tokens.shape
    if leaf.intervals is not None:
        return np.zeros(timesteps * num_tokens, np.int32)
    if leaf.kind != "text":
        return leaf.tokens.reshape(-1)
    return leaf.tokens[np.arange(num_tokens) < leaf.lengths[:, None], 0]


def _read_and_counts(
    timesteps: Timesteps, history: int | None
) -> tuple[list[TokenizedLeaf], Bool[np.ndarray, " A"]]:
    """Return what the model reads of each action leaf, and which of all their tokens are learned.

    The latter leaf by leaf, as their ids; the module's docstring says why.
    """
    number = len(timesteps)
    is_last = np.arange(1, number + 1) % (history or number) == 0
    is_last[-1] = True
    is_other = np.zeros(number, np.bool_)  # from here on the timestep is another choice's
    read, counts = [], []
    for path, leaf in timesteps.actions.items():
        executed = timesteps.executed[path]
        read.append(
            replace(leaf, tokens=np.where(is_last[:, None, None], leaf.tokens, executed.tokens))
        )
        differs = (leaf.tokens != read[-1].tokens).any(axis=2)
        if leaf.kind == "continuous":
            differs = np.zeros_like(differs)
        so_far = np.logical_or.accumulate(np.column_stack([is_other, differs]), axis=1)
        is_other = so_far[:, -1]
        counts.append(_ids(replace(leaf, tokens=~so_far[:, :-1, None])))
    return read, np.concatenate(counts)


@lru_cache(maxsize=NUM_LAYOUTS)
def _layout(shapes: tuple[_LeafShape, ...], num_observed: int, history: int | None) -> _Layout:
    """Lay out leaves of these shapes, the separators last of the first `num_observed`."""
    lengths = [np.frombuffer(s.lengths, np.int64) for s in shapes]
    timesteps = np.concatenate([np.repeat(np.arange(len(n)), n) for n in lengths])
    leaf_index = np.repeat(np.arange(len(shapes)), [n.sum() for n in lengths])
    # Tokens of a leaf are in time order already; a stable sort interleaves the leaves.
    order = np.argsort(timesteps * len(shapes) + leaf_index, kind="stable")
    is_patch = np.array([s.intervals is not None for s in shapes])[leaf_index]
    patch_index = np.where(is_patch, is_patch.cumsum() - 1, -1)[order]
    timesteps, leaf_index = timesteps[order], leaf_index[order]
    is_action = leaf_index >= num_observed
    is_observed = ~is_action & (patch_index < 0) & (leaf_index != num_observed - 1)
    segments = timesteps // (history or max(map(len, lengths)))
    same_segment = segments[1:] == segments[:-1]
    arrays = {
        "loss_mask": np.append(is_action[1:], False),
        "observation_mask": np.append(is_observed[1:] & same_segment, False),
        "patch_index": patch_index,
        "intervals": np.concatenate([_intervals(s) for s in shapes])[order],
        "local_positions": _local_positions(timesteps, is_action),
        "timesteps": timesteps,
        "segments": segments,
        "positions": np.arange(len(timesteps)) - np.searchsorted(segments, segments),
        "leaf_index": leaf_index,
    }
    for array in arrays.values():
        array.setflags(write=False)
    return _Layout(order=order, arrays=arrays)


def _intervals(shape: _LeafShape) -> np.ndarray:
    """Return the row and column interval of each of a leaf's tokens; zeros for ids."""
    lengths = np.frombuffer(shape.lengths, np.int64)
    if shape.intervals is None:
        return np.zeros((lengths.sum(), 4), np.int16)
    return np.tile(np.frombuffer(shape.intervals, np.int16).reshape(-1, 4), (len(lengths), 1))


def _local_positions(timesteps: np.ndarray, is_action: np.ndarray) -> np.ndarray:
    """Count the tokens of each timestep's observation; actions share one position (App. C.3)."""
    starts = np.searchsorted(timesteps, timesteps)
    positions = np.where(is_action, ACTION_POSITION, np.arange(len(timesteps)) - starts)
    check_observation_fits(int(positions[~is_action].max(initial=-1)) + 1, name="an observation")
    return positions.astype(np.int32)
