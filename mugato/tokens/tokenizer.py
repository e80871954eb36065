"""The four tokenisers under one vocabulary: leaves to ids or patches, and ids back to values.

This is the only way from values to tokens, in training and in acting (Reed et al. 2022, §2.1).
It travels inside each checkpoint.
"""

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int

from mugato.spec import Leaf
from mugato.system.typed_json import from_json, within
from mugato.tokens.images import ImageTokenizer, image_size, num_pictures, to_pixels
from mugato.tokens.other_text import FILE_NAMES, Library, OtherTextTokenizer
from mugato.tokens.text import TextTokenizer
from mugato.tokens.values import (
    BoundedValueTokenizer,
    ContinuousValueTokenizer,
    DiscreteValueTokenizer,
)
from mugato.tokens.vocab import Vocab


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """Encode and decode leaves of every kind.

    Attributes:
        text: a SentencePiece model, or another library's (`other_text.py`); the vocabulary must
            have as many text ids as it has pieces.
        vocab: the id ranges.
        image: how pictures become patches.
    """

    text: TextTokenizer
    vocab: Vocab = field(default_factory=Vocab)
    image: ImageTokenizer = field(default_factory=ImageTokenizer)

    def __post_init__(self) -> None:
        if self.text.num_pieces != self.vocab.num_text:
            raise ValueError(
                f"the text tokenizer has {self.text.num_pieces} pieces, "
                f"but the vocabulary {self.vocab.num_text} text ids"
            )

    def encode(
        self, leaf: Leaf, values: np.ndarray, *, is_action: bool
    ) -> tuple[np.ndarray, Int[np.ndarray, " t"]]:
        """Encode T values of a leaf.

        Returns:
            Tokens of shape (T, tokens, channels) — ids with 1 channel, or uint8 patches — and how
            many of them are real at each timestep (texts differ in length; the rest is 0). A text
            that is an action is closed by the end-of-text id, so that decoding knows where to stop.

        Raises:
            ValueError: for discrete values out of bounds or more than the vocabulary has ids for,
                images of another rank, or text with half of a surrogate pair.
        """
        match leaf.kind:
            case "text":
                return self._encode_texts(values, closed=is_action)
            case "image":
                pixels = to_pixels(leaf, values)
                patches = self.image.encode(rearrange(pixels, "t n h w c -> (t n) h w c"))
                tokens = rearrange(patches, "(t n) p c -> t (n p) c", n=num_pictures(leaf))
            case "discrete":
                _check_discrete(leaf.low, leaf.high, self.vocab.num_discrete)
                offsets = DiscreteValueTokenizer(low=leaf.low, high=leaf.high).encode(_rows(values))
                tokens = (offsets + self.vocab.discrete.start)[..., None]
            case "continuous":
                numbers = _rows(values).astype(np.float64)  # some are integers
                bins = self._continuous(leaf, is_action=is_action).encode(numbers)
                tokens = (bins + self.vocab.continuous.start)[..., None]
        return tokens, np.full(len(tokens), tokens.shape[1])

    def decode(self, leaf: Leaf, ids: Int[np.ndarray, " n"], *, is_action: bool) -> Any:
        """Turn the ids of one value back: text to str, the rest to an array of the leaf's shape.

        Raises:
            ValueError: for an image, which has no ids.
        """
        ids = np.asarray(ids, np.int64).reshape(-1)
        match leaf.kind:
            case "text":
                return self.text.decode([int(i) for i in ids if i != self.text.end_of_text])
            case "discrete":
                tokenizer = DiscreteValueTokenizer(low=leaf.low, high=leaf.high)
                values = tokenizer.decode(ids - self.vocab.discrete.start)
            case "continuous":
                bins = ids - self.vocab.continuous.start
                values = self._continuous(leaf, is_action=is_action).decode(bins)
                if np.issubdtype(leaf.dtype, np.integer):
                    values = np.rint(values)
                values = np.clip(values, leaf.low, leaf.high)  # a bin may reach over a bound
            case _:
                raise ValueError(f"a leaf of kind {leaf.kind!r} cannot be decoded from ids")
        return values.reshape(leaf.shape).astype(leaf.dtype)

    def num_tokens(self, leaf: Leaf) -> int | None:
        """Count the tokens that one value of a leaf takes; None for text, whose length varies.

        Raises:
            ValueError: for more discrete values than the vocabulary has ids for.
        """
        match leaf.kind:
            case "text":
                return None
            case "discrete":
                _check_discrete(leaf.low, leaf.high, self.vocab.num_discrete)
            case "image":
                return num_pictures(leaf) * self.image.num_patches(image_size(leaf))
        return leaf.size

    @property
    def text_ids(self) -> range:
        """The ids that a text may hold, its end included."""
        written = self.text.written_ids
        return self.vocab.text[written.start : written.stop]

    def legal_ids(self, leaf: Leaf, element: int = 0) -> range:
        """Return the ids that may stand at place `element` of an action leaf (§2.5).

        Raises:
            ValueError: for an image, or for more discrete values than the vocabulary has ids for.
        """
        match leaf.kind:
            case "text":
                return self.text_ids
            case "discrete":
                _check_discrete(leaf.low, leaf.high, self.vocab.num_discrete)
                count = int(leaf.high[element] - leaf.low[element]) + 1
                return self.vocab.discrete[:count]
            case "continuous":
                return self.vocab.continuous
        raise ValueError(f"an action cannot hold a leaf of kind {leaf.kind!r}")

    def bin_values(self, leaf: Leaf) -> Float[np.ndarray, " bins"]:
        """Return what the bins of a continuous action stand for.

        Up to what differs between its elements: their bounds, or their center and scale.
        """
        bins = np.arange(self.vocab.num_continuous)
        if leaf.bounded:
            return bins.astype(np.float64)
        return ContinuousValueTokenizer(num_bins=len(bins)).decode(bins)

    def save(self, folder: Path) -> dict:
        """Write the text model into `folder`; return the rest as JSON for the config."""
        text = self.text
        text.save(folder / text.file_name)
        parts: dict[str, Any] = {"vocab": vars(self.vocab), "image": vars(self.image)}
        if isinstance(text, OtherTextTokenizer):
            parts["text"] = {"library": text.library, "end": text.end}
        return {**parts, "text_crc32": zlib.crc32(text.model)}

    @staticmethod
    def load(folder: Path, config: dict, where: str = "tokenizer") -> "Tokenizer":
        """Read what `save` wrote; raises ValueError for anything else, naming file and place."""
        path, text = _load_text(folder, config.get("text"), within(where, "text"))
        if config.get("text_crc32", crc32 := zlib.crc32(text.model)) != crc32:
            raise ValueError(f"{path} is not the file that {where} was written with")
        vocab = from_json(Vocab, config.get("vocab"), within(where, "vocab"))
        image = from_json(ImageTokenizer, config.get("image"), within(where, "image"))
        try:
            return Tokenizer(text=text, vocab=vocab, image=image)
        except ValueError as error:
            raise ValueError(f"{path} does not fit {where}: {error}") from None

    def _continuous(
        self, leaf: Leaf, *, is_action: bool
    ) -> ContinuousValueTokenizer | BoundedValueTokenizer:
        num_bins = self.vocab.num_continuous
        if is_action and leaf.bounded:
            return BoundedValueTokenizer(num_bins=num_bins, low=leaf.low, high=leaf.high)
        return ContinuousValueTokenizer(num_bins=num_bins, center=leaf.center, scale=leaf.scale)

    def _encode_texts(self, texts: np.ndarray, *, closed: bool) -> tuple[np.ndarray, np.ndarray]:
        end = [np.array([self.text.end_of_text], np.int32)] if closed else []
        distinct = {  # a mission repeats at every timestep
            text: np.concatenate([self.text.encode(str(text)), *end]) for text in set(texts)
        }
        encoded = [distinct[text] for text in texts]
        lengths = np.array([len(ids) for ids in encoded])
        tokens = np.zeros((len(encoded), lengths.max(initial=0), 1), np.int32)
        for row, ids in zip(tokens, encoded, strict=True):
            row[: len(ids), 0] = ids
        return tokens, lengths


def _load_text(folder: Path, other: Any, where: str) -> tuple[Path, TextTokenizer]:
    """Read the text tokenizer, SentencePiece's if the config names no `other`; return its file."""
    if other is None:
        return folder / "tokenizer.model", TextTokenizer.load(folder / "tokenizer.model")
    library = from_json(Library, from_json(dict[str, Any], other, where).get("library"), where)
    end = from_json(str, other.get("end"), within(where, "end"))
    path = folder / FILE_NAMES[library]
    return path, OtherTextTokenizer.read(path, library=library, end=end)


@lru_cache(maxsize=64)  # the bounds of a grid are many, and it is encoded at every timestep
def _check_discrete(low: tuple[float, ...], high: tuple[float, ...], num_ids: int) -> None:
    most = int(np.max(np.subtract(high, low), initial=0)) + 1
    if most > num_ids:
        raise ValueError(
            f"{most} discrete values, but the vocabulary has ids for {num_ids}; raise "
            "--model.vocab.num-discrete or split the value over several smaller ones"
        )


def _rows(values: np.ndarray) -> np.ndarray:
    """Flatten (T, ...) to (T, elements), row-major."""
    return np.asarray(values).reshape(len(values), -1)
