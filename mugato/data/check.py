"""Is a source fit to train on? Its values, and what of them comes back from their tokens."""

import hashlib

import numpy as np
from einops import rearrange

from mugato.data.round_trip import losses, source_stats
from mugato.data.source import Source
from mugato.episode import Episode, validate
from mugato.spec import Leaf
from mugato.tokens.images import from_pixels, image_size, num_pictures
from mugato.tokens.tokenizer import Tokenizer


class SourceCheck:
    """Looks at everything in the episodes that it is given, and adds up what it finds.

    Attributes:
        leaves: figures of each leaf.
        episodes, timesteps: how many were looked at.
        duplicates: an episode -> the earlier one that is the same.
    """

    def __init__(self, source: Source, tokenizer: Tokenizer) -> None:
        self.leaves = source_stats(source.spec, tokenizer)
        self.episodes = self.timesteps = 0
        self.duplicates: dict[int, int] = {}
        self._source, self._tokenizer = source, tokenizer
        self._first_of: dict[bytes, int] = {}

    def episode(self, index: int) -> Episode:
        """Read an episode and look at everything in it.

        Raises:
            ValueError: at the first fault, naming episode, leaf and timestep: a damaged file,
                values that do not fit the spec, NaN, lengths that disagree, actions out of bounds,
                rewards that are not finite, texts and pictures that their tokens do not give back.
        """
        where = f"{self._source.name}, episode {index}"
        try:
            episode = validate(self._source[index], self._source.spec)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        for stats in self.leaves:
            values = episode.values(stats.role)[stats.path]
            place = f"{where}: {stats.role} {stats.path!r}"
            tokens = _check_tokens(
                place, values, stats.leaf, self._tokenizer, is_action=stats.is_action
            )
            stats.add(values, tokens, self._tokenizer, name=f"episode {index}")
        first = self._first_of.setdefault(_digest(episode), index)
        if first != index:
            self.duplicates[index] = first
        self.episodes += 1
        self.timesteps += len(episode)
        return episode


def _digest(episode: Episode) -> bytes:
    """Return what is the same for episodes of the same values."""
    digest = hashlib.sha256()
    executed = (episode.executed or {}).values()
    for values in (*episode.observations.values(), *episode.actions.values(), *executed):
        is_text = values.dtype == object
        digest.update(repr(values.tolist()).encode() if is_text else values.tobytes())
    return digest.digest()


def _check_tokens(
    where: str, values: np.ndarray, leaf: Leaf, tokenizer: Tokenizer, *, is_action: bool
) -> np.ndarray:
    """Return a leaf's tokens, unless they give back another value."""
    try:
        tokens, lengths = tokenizer.encode(leaf, values, is_action=is_action)
    except ValueError as error:
        raise ValueError(f"{where} cannot be tokenised: {error}") from error
    match leaf.kind:
        case "image":
            wrong = _changed_pictures(values, tokens, leaf, tokenizer)
        case "text":
            wrong = _changed_texts(values, tokens, lengths, leaf, tokenizer, is_action=is_action)
        case _:
            ids = tokens[..., 0]
            distance, slack = losses(leaf, values, ids, tokenizer, is_action=is_action)
            bins = tokenizer.vocab.continuous  # values beyond the outermost are counted instead
            wrong = ((distance > slack) & (ids != bins[0]) & (ids != bins[-1])).any(axis=1)
    if wrong.any():
        t = int(wrong.argmax())
        shown = np.array2string(np.asarray(values[t]), threshold=8, precision=4)
        raise ValueError(f"{where} at timestep {t} does not come back from its tokens: {shown}")
    return tokens


def _changed_pictures(
    values: np.ndarray, tokens: np.ndarray, leaf: Leaf, tokenizer: Tokenizer
) -> np.ndarray:
    """Which pictures their patches do not give back; shrunk ones cannot be compared."""
    size, n = image_size(leaf), num_pictures(leaf)
    if tokenizer.image.resized(size) != size:
        return np.zeros(len(values), np.bool_)
    patches = rearrange(tokens, "t (n p) c -> (t n) p c", n=n)
    pixels = rearrange(tokenizer.image.decode(patches, size), "(t n) h w c -> t n h w c", n=n)
    changed = from_pixels(leaf, pixels) != values
    return changed.reshape(len(values), -1).any(axis=1)


def _changed_texts(
    values: np.ndarray,
    tokens: np.ndarray,
    lengths: np.ndarray,
    leaf: Leaf,
    tokenizer: Tokenizer,
    *,
    is_action: bool,
) -> np.ndarray:
    """Which texts differ from those of their tokens; most are the same at every timestep."""
    firsts = {text: t for t, text in reversed(list(enumerate(values)))}
    wrong = {
        text: tokenizer.decode(leaf, tokens[t, : lengths[t], 0], is_action=is_action) != text
        for text, t in firsts.items()
    }
    return np.array([wrong[text] for text in values])
