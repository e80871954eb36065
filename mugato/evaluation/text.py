"""Bits per byte of held-out text, teacher-forced, beside a compressor and a unigram model.

Windows slide by half of the context, so that every token after the first window is scored with at
least half a context before it, and each exactly once. As in training, end-of-text stands before a
document's first token.
"""

import bz2
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.text import continue_text
from mugato.agent import Agent, Sampling
from mugato.data.source import Source
from mugato.model.devices import exact_device
from mugato.model.precision import Precision, autocast
from mugato.system.typed_json import from_json
from mugato.tokens.packing import pack
from mugato.tokens.sequence import TokenSequence, sequence
from mugato.tokens.text import TextTokenizer
from mugato.tokens.timesteps import text_timesteps

ROWS = 8
# So much of a split is read: to be scored, and to count the unigram model's tokens.
MAX_SCORED_CHARACTERS, MAX_COUNTED_CHARACTERS = 200_000, 10_000_000
CONTINUED_TOKENS = 100
PROMPT_CHARACTERS = 160
# Where in the held-out text the prompts begin.
PROMPT_PLACES = (0.1, 0.5, 0.9)
CONTINUATION = Sampling(temperature=0.8, top_p=0.95)


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What the agent wrote after a prompt, and where the text went on."""

    prompt: str
    written: str
    original: str


@dataclass(frozen=True, kw_only=True)
class TextScores:
    """How well a held-out text is predicted.

    Attributes:
        bytes: of the scored text.
        text: what was scored.
    """

    kind: ClassVar = "text"
    bits_per_byte: float
    bz2_bits_per_byte: float
    unigram_bits_per_byte: float
    bytes: int
    text: str
    continuations: tuple[Continuation, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and the continuations."""
        continuations = [vars(continuation) for continuation in self.continuations]
        return {**vars(self), "continuations": continuations}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "TextScores":
        """Read what `to_json` gave; raises ValueError for anything else."""
        return from_json(TextScores, row, "scores")


def score_text(
    agent: Agent,
    source: Source,
    training: Source,
    *,
    inference: InferenceConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TextScores:
    """Score the first documents of a split, and have the agent go on from within them."""
    documents = _documents(source, MAX_SCORED_CHARACTERS)
    text = "\n\n".join(documents)
    many = f" and {len(documents) - 1} more" if len(documents) > 1 else ""
    return TextScores(
        bits_per_byte=bits_per_byte(
            agent, documents, precision=inference.precision, progress=progress
        ),
        bz2_bits_per_byte=bz2_bits_per_byte(text),
        unigram_bits_per_byte=unigram_bits_per_byte(
            documents,
            training_texts=_documents(training, MAX_COUNTED_CHARACTERS),
            tokenizer=agent.tokenizer.text,
        ),
        bytes=_num_bytes(documents),
        text=f"{source[0].name}{many}",
        continuations=tuple(
            _continue(agent, text, int(len(text) * place), inference.seed + i)
            for i, place in enumerate(PROMPT_PLACES)
        ),
    )


@torch.inference_mode()
def bits_per_byte(
    agent: Agent,
    documents: Sequence[str],
    *,
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Return the agent's code length for some documents, their ends not counted.

    Raises:
        ValueError: if all are empty.
    """
    num_bytes = _num_bytes(documents)
    device = agent.model.embedding.table.weight.device
    windows = list(chain.from_iterable(scored_windows(agent, text) for text in documents))
    nats = 0.0
    for start in range(0, len(windows), ROWS):
        batch = pack(windows[start : start + ROWS], length=agent.model.config.context_length)
        with autocast(device, precision):
            nats += float(
                agent.model(batch.to(device)).values.to(exact_device(device)).double().sum()
            )
        progress(min(start + ROWS, len(windows)), len(windows))
    return nats / math.log(2) / num_bytes


def scored_windows(agent: Agent, text: str) -> Iterator[TokenSequence]:
    """Yield windows whose loss masks together cover every token of the text once."""
    tokenizer = agent.tokenizer
    length = agent.model.config.context_length
    ids = np.concatenate([[tokenizer.text.end_of_text], tokenizer.text.encode(text)])
    scored = 1  # ids before this one are context only
    start = 0
    while scored < len(ids):
        stop = min(start + length, len(ids))
        window = sequence(text_timesteps(ids[start:stop]), tokenizer.vocab)
        # Place i predicts id start + i + 1.
        new = np.arange(start + 1, stop + 1) >= scored
        yield dataclasses.replace(window, loss_mask=window.loss_mask & new)
        scored, start = stop, start + max(1, length // 2)


def bz2_bits_per_byte(text: str) -> float:
    """Return what `bzip2 -9` needs, its header included.

    >>> bz2_bits_per_byte("a" * 8000) < 0.1
    True
    """
    return 8 * len(bz2.compress(text.encode(), compresslevel=9)) / _num_bytes([text])


def unigram_bits_per_byte(
    documents: Sequence[str], *, training_texts: Sequence[str], tokenizer: TextTokenizer
) -> float:
    """Return the code length under training frequencies, add-one smoothed: no context at all."""
    counts = np.ones(tokenizer.num_pieces)
    for training_text in training_texts:
        counts += _counts(tokenizer.encode(training_text), tokenizer.num_pieces)
    bits = -np.log2(counts / counts.sum())
    found = sum(_counts(tokenizer.encode(text), tokenizer.num_pieces) for text in documents)
    return float(found @ bits) / _num_bytes(documents)


def _documents(source: Source, max_characters: int) -> list[str]:
    """Return the first documents of a source, up to so many characters together."""
    documents, left = list[str](), max_characters
    for i in range(len(source)):
        text = str(source[i].actions["text"][0])[:left]
        left -= len(text)
        documents += [text] if text else []
        if not left:
            break
    return documents


def _continue(agent: Agent, text: str, place: int, seed: int) -> Continuation:
    """Have the agent go on after a prompt of whole lines, where there are lines."""
    paragraph = text.find("\n\n", place)
    start = place if paragraph < 0 else paragraph + 2
    line = text.find("\n", start + PROMPT_CHARACTERS, start + 10 * PROMPT_CHARACTERS)
    stop = start + PROMPT_CHARACTERS if line < 0 else line + 1
    prompt = text[start:stop]
    pieces = continue_text(
        agent, prompt, max_tokens=CONTINUED_TOKENS, sampling=CONTINUATION, seed=seed
    )
    written = "".join(pieces)
    return Continuation(prompt=prompt, written=written, original=text[stop : stop + len(written)])


def _counts(ids: Int[np.ndarray, " n"], num_pieces: int) -> Int[np.ndarray, " pieces"]:
    return np.bincount(ids, minlength=num_pieces)


def _num_bytes(documents: Sequence[str]) -> int:
    num_bytes = sum(len(text.encode()) for text in documents)
    if not num_bytes:
        raise ValueError("an empty text has no bits per byte")
    return num_bytes
