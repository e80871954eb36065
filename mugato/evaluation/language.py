"""Questions, captions and text as jobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mugato.acting.sampling import Sampling
from mugato.acting.text import continue_text
from mugato.agent import Agent
from mugato.data.registry import named_like
from mugato.data.sources.shakespeare import held_out_text, open_shakespeare
from mugato.evaluation import text as texts
from mugato.evaluation.config import Plan
from mugato.evaluation.episodes import InferenceConfig, load_agent
from mugato.evaluation.pictures import Answers, evaluate_captions, evaluate_questions
from mugato.system.jobs import Job
from mugato.system.workers import JobProgress

# How the part of the report is called that a source makes possible.
QUESTIONS, CAPTIONS, TEXT = "easy-vqa", "emoji", "shakespeare"
# Episodes of 50 that take about as long as the job, for the order and for the progress bar.
PICTURES_COST, TEXT_COST = 25.0, 15.0
CONTINUED_TOKENS = 100
PROMPT_CHARACTERS = 160
# Where in the held-out play the prompts begin.
PROMPT_PLACES = (0.1, 0.5, 0.9)
CONTINUATION = Sampling(temperature=0.8, top_p=0.95)


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What the agent wrote after a prompt, and where the play went on."""

    prompt: str
    written: str
    original: str


@dataclass(frozen=True, kw_only=True)
class TextFindings:
    """Numbers for the report, and samples beside them."""

    scores: dict[str, Any]
    continuations: tuple[Continuation, ...]


def language_jobs(plan: Plan) -> list[Job]:
    """One job for each source of questions, captions or text that is asked for."""
    return [
        Job(
            name=part,
            run=partial(_JOBS[part], str(plan.run), source, language_inference(plan.inference)),
            cost=TEXT_COST if part == TEXT else PICTURES_COST,
        )
        for part, source in scored_sources(plan.sources).items()
    ]


def scored_sources(sources: Sequence[str]) -> dict[str, str]:
    """For each part of the report the run's source that makes it possible, options and all.

    >>> scored_sources(["text:novels", "easy-vqa?size_px=32"])
    {'easy-vqa': 'easy-vqa?size_px=32'}
    """
    found = {part: named_like(part, sources) for part in _JOBS}
    return {part: source for part, source in found.items() if source is not None}


def language_inference(inference: InferenceConfig) -> InferenceConfig:
    """On processors in full precision: bits per byte are compared to the third digit."""
    return inference if inference.device == "cuda" else replace(inference, precision="fp32")


def _questions(run: str, source: str, inference: InferenceConfig, progress: JobProgress) -> Answers:
    agent = load_agent(run, inference.device)
    return evaluate_questions(agent, task=source, precision=inference.precision, progress=progress)


def _captions(run: str, source: str, inference: InferenceConfig, progress: JobProgress) -> Answers:
    agent = load_agent(run, inference.device)
    return evaluate_captions(agent, task=source, precision=inference.precision, progress=progress)


def _text(run: str, source: str, inference: InferenceConfig, progress: JobProgress) -> TextFindings:
    agent = load_agent(run, inference.device)
    play = held_out_text()
    plays = open_shakespeare("train")
    training = [str(plays[i].actions["text"][0]) for i in range(len(plays))]
    scores = {
        "bits_per_byte": texts.bits_per_byte(
            agent, play, precision=inference.precision, progress=progress
        ),
        "bz2_bits_per_byte": texts.bz2_bits_per_byte(play),
        "unigram_bits_per_byte": texts.unigram_bits_per_byte(
            play, training_texts=training, tokenizer=agent.tokenizer.text
        ),
        "bytes": len(play.encode()),
        "text": "Shakespeare, Twelfth Night (held out)",
    }
    places = [int(len(play) * place) for place in PROMPT_PLACES]
    return TextFindings(
        scores=scores,
        continuations=tuple(
            _continue(agent, play, place, inference.seed + i) for i, place in enumerate(places)
        ),
    )


def _continue(agent: Agent, play: str, place: int, seed: int) -> Continuation:
    start = play.index("\n\n", place) + 2
    stop = play.index("\n", start + PROMPT_CHARACTERS) + 1
    prompt = play[start:stop]
    pieces = continue_text(
        agent, prompt, max_tokens=CONTINUED_TOKENS, sampling=CONTINUATION, seed=seed
    )
    written = "".join(pieces)
    return Continuation(prompt=prompt, written=written, original=play[stop : stop + len(written)])


_JOBS: Mapping[str, Callable[..., Any]] = {
    QUESTIONS: _questions,
    CAPTIONS: _captions,
    TEXT: _text,
}
