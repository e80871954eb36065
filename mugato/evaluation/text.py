"""Bits per byte of held-out text, teacher-forced, beside a compressor and a unigram model.

Windows slide by half of the context, so that every token after the first window is scored with at
least half a context before it, and each exactly once. As in training, end-of-text stands before a
document's first token.
"""

import bz2
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int

from mugato.agent import Agent
from mugato.model.precision import Precision, autocast
from mugato.tokens.packing import pack
from mugato.tokens.sequence import TokenSequence, sequence
from mugato.tokens.text import TextTokenizer
from mugato.tokens.timesteps import text_timesteps

ROWS = 8


@torch.inference_mode()
def bits_per_byte(
    agent: Agent,
    text: str,
    *,
    precision: Precision = "fp32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """The agent's code length for a text, end-of-text not counted.

    Raises:
        ValueError: for an empty text.
    """
    num_bytes = _num_bytes(text)
    device = agent.model.embedding.table.weight.device
    windows = list(scored_windows(agent, text))
    nats = 0.0
    for start in range(0, len(windows), ROWS):
        batch = pack(windows[start : start + ROWS], length=agent.model.config.context_length)
        with autocast(device, precision):
            nats += float(agent.model(batch.to(device)).values.double().sum())
        progress(min(start + ROWS, len(windows)), len(windows))
    return nats / math.log(2) / num_bytes


def scored_windows(agent: Agent, text: str) -> Iterator[TokenSequence]:
    """Windows whose loss masks together cover every token of the text once."""
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
    """What `bzip2 -9` needs, its header included.

    >>> bz2_bits_per_byte("a" * 8000) < 0.1
    True
    """
    return 8 * len(bz2.compress(text.encode(), compresslevel=9)) / _num_bytes(text)


def unigram_bits_per_byte(
    text: str, *, training_texts: Sequence[str], tokenizer: TextTokenizer
) -> float:
    """Code length under the tokens' training frequencies, add-one smoothed: no context at all."""
    counts = np.ones(tokenizer.num_pieces)
    for training_text in training_texts:
        counts += _counts(tokenizer.encode(training_text), tokenizer.num_pieces)
    bits = -np.log2(counts / counts.sum())
    return float(_counts(tokenizer.encode(text), tokenizer.num_pieces) @ bits) / _num_bytes(text)


def _counts(ids: Int[np.ndarray, " n"], num_pieces: int) -> Int[np.ndarray, " pieces"]:
    return np.bincount(ids, minlength=num_pieces)


def _num_bytes(text: str) -> int:
    if not text:
        raise ValueError("an empty text has no bits per byte")
    return len(text.encode())
