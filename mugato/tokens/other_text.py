"""Text tokenizers of other libraries: Hugging Face's `tokenizers`, and tiktoken.

They stand where SentencePiece does and keep its promises: any text comes back exactly, what ends a
text is never the encoding of one, and the pieces travel inside the agent, as JSON. A text that
spells a special piece ("<|endoftext|>") is text like any other. Nothing is fetched: what is known
of a tokenizer is what the object or the file holds.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from mugato.system.errors import one_line
from mugato.system.optional import require
from mugato.tokens.text import TextTokenizer

Library = Literal["tokenizers", "tiktoken"]
FILE_NAMES = {"tokenizers": "tokenizer.json", "tiktoken": "tiktoken.json"}
# What ends a text where nobody says so: the first of these that is a special piece.
ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


@dataclass(frozen=True, kw_only=True)
class OtherTextTokenizer(TextTokenizer):
    """Another library's tokenizer behind the interface of ours.

    Attributes:
        model: JSON: what `tokenizers` writes to `tokenizer.json`, or tiktoken's pattern and ranks.
        library: whose it is.
        end: the special piece that ends a text.
    """

    library: Library
    end: str

    @staticmethod
    def of(tokenizer: Any, *, end: str | None = None) -> "OtherTextTokenizer":
        """Take over a `tokenizers.Tokenizer`, one of `transformers`' around it, or an `Encoding`.

        Args:
            end: the special piece that ends a text; the only one there is if it is not given, or
                one that usually does.

        Raises:
            ValueError: another kind of object, no piece that could end a text, or a tokenizer that
                does not give every text back.
        """
        inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if end is None and inner is not tokenizer:
            end = getattr(tokenizer, "eos_token", None)
        library = type(inner).__module__.partition(".")[0]
        match library:
            case "tokenizers":
                model = inner.to_str().encode()
            case "tiktoken":
                model = _described(inner)
            case _:
                raise ValueError(
                    f"a text tokenizer is one of {', '.join(get_args(Library))}, or one of "
                    f"transformers' fast ones, not a {type(tokenizer).__name__} of {library!r}"
                )
        return OtherTextTokenizer._of_json(model, library, end)

    @staticmethod
    def read(
        path: str | Path, *, library: Library = "tokenizers", end: str | None = None
    ) -> "OtherTextTokenizer":
        """Read a `tokenizer.json`, or the JSON that an agent has of tiktoken's.

        Raises:
            ValueError: as `of`, or for a file that cannot be read; names it.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        try:
            return OtherTextTokenizer._of_json(model, library, end)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @staticmethod
    def _of_json(model: bytes, library: Any, end: str | None) -> "OtherTextTokenizer":
        specials = _pieces(library, model).specials
        likely = specials if len(specials) == 1 else [name for name in ENDS if name in specials]
        end = end or next(iter(likely), None)
        if end is None or end not in specials:
            raise ValueError(
                f"which special piece ends a text? Say end=...; {end!r} is none of {list(specials)}"
            )
        return OtherTextTokenizer(model=model, library=library, end=end)

    @property
    def file_name(self) -> str:
        return FILE_NAMES[self.library]

    @property
    def num_pieces(self) -> int:
        return self._processor.num_pieces

    @property
    def end_of_text(self) -> int:
        return self._processor.specials[self.end]

    @property
    def written_ids(self) -> range:
        """All: special pieces besides the end, which stand anywhere, give nothing readable."""
        return range(self.num_pieces)

    @cached_property
    def _processor(self) -> Any:
        return _pieces(self.library, self.model)

    def _pieces_of(self, text: str) -> list[int]:
        return self._processor.encode(text)


def read_text_tokenizer(path: Path) -> TextTokenizer:
    """Read a text tokenizer: a `tokenizer.json` of `tokenizers`, or else a SentencePiece model.

    Raises:
        ValueError: for a file that is neither, or a tokenizer that does not give every text back.
    """
    return OtherTextTokenizer.read(path) if path.suffix == ".json" else TextTokenizer.load(path)


class _OfTokenizers:
    """A tokenizer of Hugging Face's, which adds no marks, cuts nothing off and fills nothing up."""

    def __init__(self, model: bytes) -> None:
        try:
            self._inner = require("tokenizers", extra="hf").Tokenizer.from_str(model.decode())
        except ImportError:
            raise
        except Exception as error:  # the library's own are of no narrower type
            raise ValueError(f"not a tokenizer of `tokenizers`: {one_line(error)}") from error
        self._inner.no_truncation()
        self._inner.no_padding()
        self._inner.encode_special_tokens = True  # as what they are spelled
        self.num_pieces = 1 + max(self._inner.get_vocab(with_added_tokens=True).values())
        added = self._inner.get_added_tokens_decoder().items()
        self.specials = {piece.content: i for i, piece in added if piece.special}

    def encode(self, text: str) -> list[int]:
        return self._inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._inner.decode(ids, skip_special_tokens=True)


class _OfTiktoken:
    """A tokenizer of tiktoken's, made from its pattern and ranks; some ids may have no piece."""

    def __init__(self, model: bytes) -> None:
        tiktoken = require("tiktoken", extra="tiktoken")
        try:
            told = json.loads(model)
            ranks = {base64.b64decode(key): rank for key, rank in told["mergeable_ranks"].items()}
            self.specials = told["special_tokens"]
            self._inner = tiktoken.Encoding(
                told["name"],
                pat_str=told["pat_str"],
                mergeable_ranks=ranks,
                special_tokens=self.specials,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a tokenizer of tiktoken: {one_line(error)}") from error
        self.num_pieces, self._readable = self._inner.n_vocab, frozenset(ranks.values())

    def encode(self, text: str) -> list[int]:
        return self._inner.encode_ordinary(text)

    def decode(self, ids: list[int]) -> str:
        return self._inner.decode([i for i in ids if i in self._readable], errors="replace")


def _pieces(library: Any, model: bytes) -> _OfTokenizers | _OfTiktoken:
    return {"tokenizers": _OfTokenizers, "tiktoken": _OfTiktoken}[library](model)


def _described(encoding: Any) -> bytes:
    """Write a tiktoken encoding as JSON, with all that makes it again."""
    ranks: dict[bytes, int] = encoding._mergeable_ranks
    keys: Sequence[str] = [base64.b64encode(piece).decode() for piece in ranks]
    told = {
        "name": encoding.name,
        "pat_str": encoding._pat_str,
        "mergeable_ranks": dict(zip(keys, ranks.values(), strict=True)),
        "special_tokens": encoding._special_tokens,
    }
    return json.dumps(told).encode()
