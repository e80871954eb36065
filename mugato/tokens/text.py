"""Text to pieces and back: SentencePiece (Kudo & Richardson 2018; Reed et al. 2022, §2.1).

Any string comes back exactly as it went in: line breaks, double spaces and unknown scripts included
(rare characters fall back to their bytes). Ids start at 0; where text stands among the agent's ids
is `vocab`'s business.
"""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32
from numpy import ndarray
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from mugato.system.files import write_whole

# Without dependencies: they pin an older NumPy, and only its model file is read.
PAPER_INSTALL = "pip install --no-deps mistral-common==1.13.1"
# SentencePiece writes a space as this mark and cannot tell the two apart: the mark itself is
# written in its UTF-8 bytes.
SPACE_MARK = "\u2581"
ANCHOR = "\0"  # never part of a longer piece, see `train`
PROBE = f"  \ufb01Ne\n\t{SPACE_MARK} \u2460 e\u0301\U0001f680 "

NUM_THREADS = 1  # written into the model file; a second one saves 0.2 s of 1.2 s
NUM_CACHED = 1 << 14
MAX_CACHED_CHARACTERS = 256
MAX_LINE_BYTES = 1 << 16  # longer lines are cut for training, which would skip them


@dataclass(frozen=True, kw_only=True)
class TextTokenizer:
    """A SentencePiece model; equal when its bytes are equal, and cheap to send to another process.

    >>> tokenizer = TextTokenizer.paper()
    >>> tokenizer.num_pieces, tokenizer.end_of_text
    (32000, 2)
    >>> tokenizer.encode("to  be\\n").tolist(), tokenizer.decode(tokenizer.encode("to  be\\n"))
    ([298, 28705, 347, 13], 'to  be\\n')
    >>> tokenizer.encode("").tolist(), tokenizer.decode(np.array([0, 31999])[:0])
    ([], '')
    """

    model: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.end_of_text < 0:
            raise ValueError("the SentencePiece model has no end-of-text piece")
        for text in (PROBE, PROBE.strip()):
            if (back := self.decode(self.encode(text))) != text:
                raise ValueError(
                    f"the text tokenizer does not give text back exactly ({text!r} became "
                    f"{back!r}): take one of bytes, without normalization or added spaces "
                    "(SentencePiece: byte_fallback, identity normalization, whitespace kept)"
                )

    @staticmethod
    def paper() -> "TextTokenizer":
        """Load the 32,000 pieces that Mistral ships (Apache-2.0); the paper's are not public.

        As it was trained, it puts a space before every text, which `decode` takes away: a word at
        the start of a text is the same piece as within it. So a part of some ids, decoded alone,
        lacks the space it may have begun with; models from `train` have no such rule.

        Raises:
            ModuleNotFoundError: without the package, saying how to install it.
        """
        package = importlib.util.find_spec("mistral_common")
        if package is None or package.origin is None:
            raise ModuleNotFoundError(
                f"the 32,000 text pieces are missing: {PAPER_INSTALL}", name="mistral_common"
            )
        return TextTokenizer.load(Path(package.origin).parent / "data/tokenizer.model.v1")

    @staticmethod
    def train(texts: Iterable[str], *, num_pieces: int = 8192) -> "TextTokenizer":
        """Learn byte-pair pieces; the same texts give the same model.

        Raises:
            ValueError: the texts are too few or too uniform for so many pieces.
        """
        # Line breaks and the anchor are always pieces of their own: their bytes.
        lines = [
            piece
            for text in texts
            for line in re.split("[\n\0]", text)
            for piece in _cut(line)
            if piece.strip()
        ]
        written = BytesIO()
        try:
            SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=written,
                model_type="bpe",
                vocab_size=num_pieces,
                num_threads=NUM_THREADS,
                byte_fallback=True,
                normalization_rule_name="identity",
                split_digits=True,
                allow_whitespace_only_pieces=True,
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                max_sentence_length=2 * MAX_LINE_BYTES,
                minloglevel=2,
            )
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"cannot train {num_pieces} pieces on {len(lines)} lines of text: {error}"
            ) from error
        return TextTokenizer(model=written.getvalue())

    @staticmethod
    def load(path: str | Path) -> "TextTokenizer":
        """Read a model file.

        Raises:
            ValueError: the file is not a SentencePiece model, or one that changes text.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        try:
            return TextTokenizer(model=model)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all."""
        write_whole(Path(path), lambda beside: beside.write_bytes(self.model))

    @property
    def file_name(self) -> str:
        """The name of the model file in an agent's folder."""
        return "tokenizer.model"

    @property
    def num_pieces(self) -> int:
        """The number of text ids."""
        return self._processor.vocab_size()

    @property
    def end_of_text(self) -> int:
        """The id that ends a text; `encode` never gives it."""
        return self._processor.eos_id()

    @property
    def written_ids(self) -> range:
        """The ids that a text may be written with, its end included; others mean nothing."""
        return range(self.end_of_text, self.num_pieces)

    def encode(self, text: str) -> Int32[ndarray, " tokens"]:
        """Cut a text into ids, without marks for its start and end. Short repeats are remembered.

        Raises:
            ValueError: the text holds half of a surrogate pair, which no byte sequence stands for.
        """
        if len(text) > MAX_CACHED_CHARACTERS:
            return self._encode(text)
        return self._encode_repeated(text).copy()

    def decode(self, ids: Int[ndarray, " tokens"] | list[int]) -> str:
        """Put ids together again: the inverse of `encode`.

        Unknown and control pieces give nothing readable; bytes that are not UTF-8 (a sampled half
        of a character) give U+FFFD.

        Raises:
            ValueError: an id outside 0..num_pieces-1.
        """
        ids = np.asarray(ids, dtype=np.int64) if len(ids) else np.zeros(0, np.int64)
        outside = (ids < 0) | (ids >= self.num_pieces)
        if outside.any():
            raise ValueError(f"text id {ids[outside][0]} is outside 0..{self.num_pieces - 1}")
        return self._processor.decode(ids.tolist())

    def __getstate__(self) -> dict:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def _processor(self) -> SentencePieceProcessor:
        processor = SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model ({len(self.model)} bytes)") from error
        return processor

    @cached_property
    def _encode_repeated(self):
        return lru_cache(maxsize=NUM_CACHED)(self._encode)

    @cached_property
    def _anchor(self) -> list[int]:
        return self._processor.encode(ANCHOR)

    def _encode(self, text: str) -> Int32[ndarray, " tokens"]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text holds half of a surrogate pair at character {error.start}: "
                f"{text[error.start : error.start + 1]!r}"
            ) from None
        return np.array(self._pieces_of(text), dtype=np.int32)

    def _pieces_of(self, text: str) -> list[int]:
        start, *rest = text.split(SPACE_MARK)
        ids = self._processor.encode(start)
        for part in rest:
            ids += [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]
            # A text put after the anchor gets no space in front of it.
            ids += self._processor.encode(ANCHOR + part)[len(self._anchor) :]
        return ids


def _cut(line: str) -> Iterator[str]:
    """Cut a line into pieces of at most `MAX_LINE_BYTES`, before a space where there is one."""
    most = MAX_LINE_BYTES // 4  # of characters, which have up to four bytes
    while len(line) > most:
        end = line.rfind(" ", 1, most) if " " in line[1:most] else most
        yield line[:end]
        line = line[end:]
    yield line
