"""Captions: exact match by hand, overlap in its right order."""

import math

import pytest

from mugato.evaluation.captions import caption_scores

NAMES = ["smiling cat with heart-eyes", "flag: Åland Islands", "red apple"]


def test_the_right_captions_score_all_there_is():
    found = caption_scores(NAMES, NAMES)
    assert found["exact_match"] == 1.0
    assert found["bleu"] == pytest.approx(100.0) and found["chrf"] == pytest.approx(100.0)
    assert found["signatures"]["bleu"].startswith("nrefs:1|case:lc")


def test_bleu_is_the_geometric_mean_of_precisions_times_brevity():
    """5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours are right; six words for seven."""
    found = caption_scores(["a cat sat on a mat"], ["the cat sat on a big mat"])
    precisions = math.exp(sum(map(math.log, (5 / 6, 3 / 5, 2 / 4, 1 / 3))) / 4)
    assert found["bleu"] == pytest.approx(100 * precisions * math.exp(1 - 7 / 6))
    assert found["exact_match"] == 0.0


def test_nearer_captions_score_more():
    near, far = (caption_scores([text], ["red apple"]) for text in ("green apple", "bus stop"))
    assert 100 > near["chrf"] > far["chrf"] >= 0


@pytest.mark.parametrize(("given", "expected"), [([], []), (["a"], ["a", "b"])])
def test_missing_captions_are_refused(given, expected):
    with pytest.raises(ValueError, match=f"{len(given)} captions given for {len(expected)}"):
        caption_scores(given, expected)
