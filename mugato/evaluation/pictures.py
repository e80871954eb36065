"""Questions answered and pictures named, by decoding freely and comparing what was said."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mugato.acting.policy import Policy
from mugato.acting.sampling import GREEDY
from mugato.agent import Agent
from mugato.data.source import Source
from mugato.data.sources.easy_vqa import EasyVqa, QuestionType, open_easy_vqa, question_type
from mugato.data.sources.emoji import open_emoji
from mugato.evaluation.captions import caption_scores
from mugato.model.precision import Precision

ROWS = 256
ANSWERS_PER_TYPE = 2
SHOWN_CAPTIONS = {"train": 12, "test": 6}

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
class Answers:
    """Numbers for the report, and samples beside them."""

    scores: dict[str, Any]
    samples: tuple[Sample, ...]


def evaluate_questions(
    agent: Agent,
    *,
    task: str = "easy-vqa",
    max_questions: int | None = None,
    precision: Precision = "fp32",
    progress: Advance = lambda done, total: None,
) -> Answers:
    """Accuracy on easy-vqa's published test questions, beside always giving the commonest answer.

    Args:
        max_questions: only so many, spread evenly over the split.
    """
    size_px = _size_px(agent, task)
    source, training = (open_easy_vqa(split, size_px=size_px) for split in ("test", "train"))
    asked = spread(len(source), max_questions)
    answers = decode_texts(agent, task, source, asked, precision=precision, progress=progress)
    scores = {
        "questions": len(asked),
        **score_answers([source.questions[i][:2] for i in asked], answers, training),
    }
    return Answers(scores=scores, samples=tuple(_answer_samples(source, asked, answers)))


def score_answers(
    asked: Sequence[tuple[str, str]], answers: Sequence[str], training: EasyVqa
) -> dict[str, Any]:
    """Accuracy over all (question, expected answer) pairs, and for each question type.

    `majority` is the share that the type's commonest answer in training gets right;
    `own_majority` that of the commonest answer among those asked, which nobody can know beforehand.
    """
    types, common_answers = (
        [question_type(question) for question, _ in asked],
        commonest_answers(training),
    )
    right = np.array([a == expected for a, (_, expected) in zip(answers, asked, strict=True)])
    per_type, majority_right = {}, 0
    for kind in (kind for kind in QuestionType if kind in types):
        expected = [answer for (_, answer), t in zip(asked, types, strict=True) if t is kind]
        common = common_answers[kind]
        majority_right += expected.count(common)
        per_type[kind.value] = {
            "accuracy": float(right[[t is kind for t in types]].mean()),
            "questions": len(expected),
            "majority_answer": common,
            "majority": expected.count(common) / len(expected),
            "own_majority": Counter(expected).most_common(1)[0][1] / len(expected),
        }
    return {
        "accuracy": float(right.mean()),
        "majority": majority_right / len(asked),
        "per_type": per_type,
    }


def commonest_answers(training: EasyVqa) -> dict[QuestionType, str]:
    """The answer that training gives most often to each type of question."""
    given = {kind: Counter[str]() for kind in QuestionType}
    for question, answer, _ in training.questions:
        given[question_type(question)][answer] += 1
    return {kind: answers.most_common(1)[0][0] for kind, answers in given.items() if answers}


def evaluate_captions(
    agent: Agent,
    *,
    task: str = "emoji",
    max_pictures: int | None = None,
    precision: Precision = "fp32",
    progress: Advance = lambda done, total: None,
) -> Answers:
    """How well pictures are named: those of training (memory), and those held out.

    Args:
        max_pictures: only so many of each, spread evenly.
    """
    size_px = _size_px(agent, task)
    sources = {split: open_emoji(split, size_px=size_px) for split in SHOWN_CAPTIONS}
    shown = {split: spread(len(source), max_pictures) for split, source in sources.items()}
    total, scores, samples, before = sum(map(len, shown.values())), {}, [], 0
    for split, source in sources.items():

        def advance(done: int, _: int, before: int = before) -> None:
            progress(before + done, total)

        named = _named(agent, task, source, shown[split], split, precision, advance)
        scores[split] = caption_scores([s.given for s in named], [s.expected for s in named])
        samples += [named[i] for i in spread(len(named), SHOWN_CAPTIONS[split])]
        before += len(named)
    seen, held_out = (
        {"pictures": len(shown[split]), **scores[split]} for split in ("train", "test")
    )
    return Answers(scores={**seen, "held_out": held_out}, samples=tuple(samples))


def decode_texts(
    agent: Agent,
    task: str,
    source: Source,
    indices: Sequence[int],
    *,
    precision: Precision,
    progress: Advance,
) -> list[str]:
    """The agent's likeliest text for some of a source's episodes of one timestep."""
    [path] = source.spec.action_leaves
    texts: list[str] = []
    for start in range(0, len(indices), ROWS):
        rows = indices[start : start + ROWS]
        policy = Policy(agent, task=task, num_rows=len(rows), sampling=GREEDY, precision=precision)
        observations = [
            {name: values[0] for name, values in source[i].observations.items()} for i in rows
        ]
        texts += [action[path] for action in policy.select_actions(observations)]
        progress(len(texts), len(indices))
    return texts


def spread(total: int, count: int | None) -> list[int]:
    """`count` numbers below `total`, evenly spread; all of them if there are no more.

    >>> spread(10, 4), spread(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    if count is None or count >= total:
        return list(range(total))
    return [i * total // count for i in range(count)]


def _named(
    agent: Agent,
    task: str,
    source: Source,
    indices: Sequence[int],
    split: str,
    precision: Precision,
    progress: Advance,
) -> list[Sample]:
    """Each picture with its name and the agent's."""
    names = decode_texts(agent, task, source, indices, precision=precision, progress=progress)
    return [
        Sample(
            image=source[i].observations["image"][0],
            label="seen in training" if split == "train" else "never seen",
            expected=str(source[i].actions["caption"][0]),
            given=name,
        )
        for i, name in zip(indices, names, strict=True)
    ]


def _answer_samples(source: EasyVqa, asked: Sequence[int], answers: Sequence[str]) -> list[Sample]:
    samples = []
    for number, kind in enumerate(QuestionType):
        rows = [row for row, i in enumerate(asked) if source.question_type(i) is kind]
        # One picture has questions of all types: begin elsewhere in each.
        rows = rows[number * len(rows) // (ANSWERS_PER_TYPE * len(QuestionType)) :]
        for row in (rows[i] for i in spread(len(rows), ANSWERS_PER_TYPE)):
            question, expected, picture = source.questions[asked[row]]
            samples.append(
                Sample(
                    image=source.picture(picture),
                    label=kind.value,
                    question=question,
                    expected=expected,
                    given=answers[row],
                )
            )
    return samples


def _size_px(agent: Agent, task: str) -> int:
    """The side of the pictures that the agent was trained on."""
    return agent.spec(task).observation_leaves["image"].shape[0]
