"""Captions against the right ones: exact match, and n-gram overlap as sacrebleu counts it."""

from collections.abc import Sequence
from typing import Any

from mugato.system.optional import require


def caption_scores(given: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """Share named exactly, BLEU and chrF (both 0 to 100), upper and lower case alike.

    BLEU counts runs of up to four words, of which short names have none; chrF (Popović 2015) counts
    runs of characters and suits them better. The signatures say how they were computed.

    Raises:
        ValueError: no captions, or not one given for each expected.
    """
    if not given or len(given) != len(expected):
        raise ValueError(f"{len(given)} captions given for {len(expected)} expected")
    metrics = require("sacrebleu.metrics", extra="report")
    bleu, chrf = metrics.BLEU(lowercase=True), metrics.CHRF(lowercase=True)
    return {
        "exact_match": sum(g == e for g, e in zip(given, expected, strict=True)) / len(given),
        "bleu": bleu.corpus_score(list(given), [list(expected)]).score,
        "chrf": chrf.corpus_score(list(given), [list(expected)]).score,
        "signatures": {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())},
    }
