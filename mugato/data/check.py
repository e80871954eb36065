"""Is an episode fit to train on? Its values, and whether they come back from their tokens."""

from dataclasses import replace

import numpy as np
from einops import rearrange

from mugato.data.source import Source
from mugato.episode import Episode, validate
from mugato.spec import Leaf
from mugato.tokens.images import from_pixels, image_size, num_pictures
from mugato.tokens.tokenizer import Tokenizer


def check_episode(source: Source, index: int, tokenizer: Tokenizer) -> Episode:
    """Read an episode and look at everything in it.

    Raises:
        ValueError: at the first fault, naming episode, leaf and timestep: a damaged file, values
            that do not fit the spec, NaN, lengths that disagree, actions out of bounds, rewards
            that are not numbers, values that their tokens do not give back.
    """
    where = f"{source.name}, episode {index}"
    try:
        episode = validate(source[index], source.spec)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for role, path, leaf in source.spec.leaves():
        place, values = f"{where}: {role} {path!r}", episode.values(role)[path]
        _check_tokens(place, values, leaf, tokenizer, is_action=role == "action")
    return episode


def _check_tokens(
    where: str, values: np.ndarray, leaf: Leaf, tokenizer: Tokenizer, *, is_action: bool
) -> None:
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
            wrong = _changed_numbers(values, tokens[..., 0], leaf, tokenizer, is_action=is_action)
    if wrong.any():
        t = int(wrong.argmax())
        shown = np.array2string(np.asarray(values[t]), threshold=8, precision=4)
        raise ValueError(f"{where} at timestep {t} does not come back from its tokens: {shown}")


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


def _changed_numbers(
    values: np.ndarray, ids: np.ndarray, leaf: Leaf, tokenizer: Tokenizer, *, is_action: bool
) -> np.ndarray:
    """Which values are farther from their bins' centers than the centers of the bins beside."""
    n = len(values)
    if not is_action and leaf.kind == "continuous":  # observations may leave their bounds
        leaf = replace(leaf, low=(-np.inf,) * leaf.size, high=(np.inf,) * leaf.size)
    stacked = leaf.stacked(n)  # all timesteps as one value

    def decode(ids: np.ndarray) -> np.ndarray:
        back = tokenizer.decode(stacked, ids.reshape(-1), is_action=is_action)
        return back.astype(np.float64).reshape(n, -1)

    slack = 0.0
    if leaf.kind == "continuous":
        bins = tokenizer.vocab.continuous
        below, above = (np.clip(ids + side, bins[0], bins[-1]) for side in (-1, 1))
        slack = np.abs(decode(above) - decode(below))
    distance = np.abs(values.astype(np.float64).reshape(n, -1) - decode(ids))
    return np.any(~(distance <= slack), axis=1)
