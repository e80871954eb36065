"""Metrics of the texts that an agent gives: pure functions of what was expected and given.

Which metric a source has follows from its spec; a source may bring its own (`Source.metric`).
Nothing here knows models: the bits per byte of a text are measured where an agent acts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mugato.spec import Spec
from mugato.system.optional import require

ALL_QUESTIONS = "all questions"


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """How captions compare with the right ones.

    Attributes:
        exact_match: share of the captions that are right to the letter.
        bleu, chrf: overlap of words and of characters, 0 to 100, upper and lower case alike.
        signatures: how sacrebleu computed both.
    """

    pictures: int
    exact_match: float
    bleu: float
    chrf: float
    signatures: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TypeScores:
    """How questions of one type were answered, beside always giving one answer.

    Attributes:
        majority: share that `majority_answer`, training's commonest, gets right.
        own_majority: share that the commonest of the right answers would get right, which nobody
            can know beforehand.
    """

    accuracy: float
    questions: int
    majority_answer: str
    majority: float
    own_majority: float


@dataclass(frozen=True, kw_only=True)
class AnswerScores:
    """How questions were answered: exactly the right text counts.

    Attributes:
        majority: share that always giving the type's commonest answer gets right.
    """

    questions: int
    accuracy: float
    majority: float
    per_type: Mapping[str, TypeScores]


@dataclass(frozen=True, kw_only=True)
class TextMetric:
    """A document is scored by the bits per byte that an agent needs to predict it."""


@dataclass(frozen=True, kw_only=True)
class CaptionMetric:
    """Captions are scored by exact match and by n-gram overlap as sacrebleu counts it."""

    def score(self, expected: Sequence[str], given: Sequence[str]) -> CaptionScores:
        """Compare captions with the right ones.

        BLEU counts runs of up to four words, of which short names have none; chrF (Popović 2015)
        counts runs of characters and suits them better.

        Raises:
            ValueError: if there are no captions, or not one given for each expected.
            ImportError: naming what to install.
        """
        if not given or len(given) != len(expected):
            raise ValueError(f"{len(given)} captions given for {len(expected)} expected")
        metrics = require("sacrebleu.metrics", extra="report")
        bleu, chrf = metrics.BLEU(lowercase=True), metrics.CHRF(lowercase=True)
        return CaptionScores(
            pictures=len(given),
            exact_match=sum(g == e for g, e in zip(given, expected, strict=True)) / len(given),
            bleu=bleu.corpus_score(list(given), [list(expected)]).score,
            chrf=chrf.corpus_score(list(given), [list(expected)]).score,
            signatures={"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())},
        )


@dataclass(frozen=True, kw_only=True)
class AnswerMetric:
    """Answers are scored by accuracy, for each type of question by itself.

    Attributes:
        types: all types of question, in the order of reports.
        type_of: the type of a question.
    """

    types: Sequence[str] = (ALL_QUESTIONS,)
    type_of: Callable[[str], str] = lambda question: ALL_QUESTIONS

    def commonest(self, answered: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return the answer that (question, answer) pairs give most often to each type."""
        counts = {kind: Counter[str]() for kind in self.types}
        for question, answer in answered:
            counts[self.type_of(question)][answer] += 1
        return {kind: answers.most_common(1)[0][0] for kind, answers in counts.items() if answers}

    def score(
        self,
        asked: Sequence[tuple[str, str]],
        given: Sequence[str],
        *,
        commonest: Mapping[str, str],
    ) -> AnswerScores:
        """Score what was given for (question, right answer) pairs.

        Args:
            commonest: training's commonest answer to each type, see `commonest`.
        """
        types = [self.type_of(question) for question, _ in asked]
        right = np.array([g == expected for g, (_, expected) in zip(given, asked, strict=True)])
        per_type, majority_right = {}, 0
        for kind in (kind for kind in self.types if kind in types):
            expected = [answer for (_, answer), t in zip(asked, types, strict=True) if t == kind]
            common = commonest.get(kind, "")
            majority_right += expected.count(common)
            per_type[str(kind)] = TypeScores(
                accuracy=float(right[[t == kind for t in types]].mean()),
                questions=len(expected),
                majority_answer=common,
                majority=expected.count(common) / len(expected),
                own_majority=Counter(expected).most_common(1)[0][1] / len(expected),
            )
        return AnswerScores(
            questions=len(asked),
            accuracy=float(right.mean()),
            majority=majority_right / len(asked),
            per_type=per_type,
        )


Metric = TextMetric | CaptionMetric | AnswerMetric


def metric_of(spec: Spec) -> Metric | None:
    """Return the metric of texts that answer such observations; None where there is none.

    >>> metric_of(Spec(observation={}, action={}))
    """
    if [leaf.kind for leaf in spec.action_leaves.values()] != ["text"]:
        return None
    observed = {path: leaf.kind for path, leaf in spec.observation_leaves.items()}
    match observed:
        case _ if not observed:
            return TextMetric()
        case {"image": "image", "question": "text"} if len(observed) == 2:
            return AnswerMetric()
        case {"image": "image"} if len(observed) == 1:
            return CaptionMetric()
    return None
