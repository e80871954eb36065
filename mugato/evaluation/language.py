"""What the agent says: questions answered, pictures named, text predicted and continued.

Every source that has a metric is scored by it, on a split that was held out: `test`, or
`validation` where there is no other. Captions are also given to pictures that were seen in
training, which is memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt8

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.text import reply
from mugato.agent import GREEDY, Agent
from mugato.data.metrics import (
    AnswerMetric,
    AnswerScores,
    CaptionMetric,
    CaptionScores,
    TextMetric,
)
from mugato.data.registry import open_held_out, open_source
from mugato.data.source import Source
from mugato.episode import Episode
from mugato.evaluation.config import load_agent
from mugato.evaluation.text import TextScores, score_text
from mugato.model.precision import Precision
from mugato.system.typed_json import from_json
from mugato.system.workers import JobProgress

ROWS = 256
# No more episodes than these are asked about, spread evenly over a split.
MAX_HELD_OUT, MAX_SEEN = 10_000, 2_000
SHOWN_ANSWERS, SHOWN_SEEN, SHOWN_HELD_OUT = 12, 12, 6

Advance = Callable[[int, int], None]  # called with (done, of how many)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture with what the agent said to it, for readers."""

    image: UInt8[np.ndarray, "h w 3"]
    label: str
    question: str = ""
    expected: str
    given: str


@dataclass(frozen=True, kw_only=True)
class AnswerResults:
    """How questions of a split were answered; samples are not kept in reports."""

    kind: ClassVar = "questions"
    split: str
    scores: AnswerScores
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {"split": self.split, **asdict(self.scores)}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "AnswerResults":
        """Read what `to_json` gave; raises ValueError for anything else."""
        scores = dict(row)
        split = from_json(str, scores.pop("split", None), "split")
        return AnswerResults(split=split, scores=from_json(AnswerScores, scores, "scores"))


@dataclass(frozen=True, kw_only=True)
class CaptionResults:
    """How pictures were named: those of training, and those held out."""

    kind: ClassVar = "captions"
    split: str
    seen: CaptionScores
    held_out: CaptionScores
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        return {"split": self.split, **asdict(self.seen), "held_out": asdict(self.held_out)}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> "CaptionResults":
        """Read what `to_json` gave; raises ValueError for anything else."""
        seen = dict(row)
        split = from_json(str, seen.pop("split", None), "split")
        held_out = from_json(CaptionScores, seen.pop("held_out", None), "held_out")
        seen = from_json(CaptionScores, seen, "seen")
        return CaptionResults(split=split, seen=seen, held_out=held_out)


SourceResults = AnswerResults | CaptionResults | TextScores


def language_inference(inference: InferenceConfig) -> InferenceConfig:
    """On processors in full precision: bits per byte are compared to the third digit."""
    return (
        inference if inference.device.startswith("cuda") else replace(inference, precision="fp32")
    )


def score_source(
    run: Path, name: str, inference: InferenceConfig, progress: JobProgress = JobProgress()
) -> SourceResults:
    """Score the agent of a run on a source by the source's own metric.

    Raises:
        ValueError: a source without a metric, or without a split that is held out.
        ImportError: a package of the source or of its metric is missing.
    """
    agent = load_agent(run, inference.device)
    source, split = open_held_out(name)
    speaker = Speaker(agent=agent, name=name, precision=inference.precision)
    match source.metric:
        case AnswerMetric() as metric:
            training = open_source(name, "train")
            return score_answers(speaker, metric, source, training, split, progress)
        case CaptionMetric() as metric:
            training = open_source(name, "train")
            return score_captions(speaker, metric, source, training, split, progress)
        case TextMetric():
            training = open_source(name, "train")
            return score_text(agent, source, training, inference=inference, progress=progress)
    raise ValueError(f"{name} has no metric: it is not made of texts, captions or questions")


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """The agent as it answers one source."""

    agent: Agent
    name: str
    precision: Precision = "fp32"

    def texts(
        self, source: Source, indices: Sequence[int], advance: Advance = lambda done, total: None
    ) -> list[str]:
        """Return the likeliest text for some of a source's episodes of one timestep."""
        inference = InferenceConfig(sampling=GREEDY, precision=self.precision)
        texts: list[str] = []
        for start in range(0, len(indices), ROWS):
            rows = indices[start : start + ROWS]
            observations = [
                {name: values[0] for name, values in source[i].observations.items()} for i in rows
            ]
            texts += reply(self.agent, observations, task=self.name, inference=inference)
            advance(len(texts), len(indices))
        return texts


def score_answers(
    speaker: Speaker,
    metric: AnswerMetric,
    source: Source,
    training: Source,
    split: str,
    advance: Advance = lambda done, total: None,
) -> AnswerResults:
    """Score the answers to held-out questions, beside always giving training's commonest one."""
    indices = spread(len(source), MAX_HELD_OUT)
    given = speaker.texts(source, indices, advance)
    asked = [source.question(i) for i in indices]
    commonest = metric.commonest(map(training.question, range(len(training))))
    samples, per_type = list[Sample](), max(1, SHOWN_ANSWERS // len(metric.types))
    for number, kind in enumerate(metric.types):
        rows = [row for row, (question, _) in enumerate(asked) if metric.type_of(question) == kind]
        # One picture has questions of all types: begin elsewhere in each.
        rows = rows[number * len(rows) // (per_type * len(metric.types)) :]
        own, texts = [indices[row] for row in rows], [given[row] for row in rows]
        samples += _sampled(source, own, texts, str(kind), per_type)
    return AnswerResults(
        split=split,
        scores=metric.score(asked, given, commonest=commonest),
        samples=tuple(samples),
    )


def score_captions(
    speaker: Speaker,
    metric: CaptionMetric,
    source: Source,
    training: Source,
    split: str,
    advance: Advance = lambda done, total: None,
) -> CaptionResults:
    """Score the names of pictures of training, and of those held out."""
    seen, held_out = spread(len(training), MAX_SEEN), spread(len(source), MAX_HELD_OUT)
    total = len(seen) + len(held_out)
    named = speaker.texts(training, seen, lambda done, _: advance(done, total))
    new = speaker.texts(source, held_out, lambda done, _: advance(len(seen) + done, total))
    old_ones = _sampled(training, seen, named, "seen in training", SHOWN_SEEN)
    new_ones = _sampled(source, held_out, new, "never seen", SHOWN_HELD_OUT)
    return CaptionResults(
        split=split,
        seen=metric.score([_answer(training[i]) for i in seen], named),
        held_out=metric.score([_answer(source[i]) for i in held_out], new),
        samples=(*old_ones, *new_ones),
    )


def spread(total: int, count: int) -> list[int]:
    """Return `count` numbers below `total`, evenly spread; all if there are no more.

    >>> spread(10, 4), spread(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    if count >= total:
        return list(range(total))
    return [i * total // count for i in range(count)]


def _answer(episode: Episode) -> str:
    [answer] = episode.actions.values()
    return str(answer[0])


def _sampled(
    source: Source, indices: Sequence[int], given: Sequence[str], label: str, count: int
) -> list[Sample]:
    """Return some of what was said, evenly spread, with its pictures."""
    samples = []
    for row in spread(len(indices), count):
        episode = source[indices[row]]
        asked = episode.observations.get("question")
        samples.append(
            Sample(
                image=episode.observations["image"][0],
                label=label,
                question="" if asked is None else str(asked[0]),
                expected=_answer(episode),
                given=given[row],
            )
        )
    return samples
