"""Text from the agent: continue a text, caption a picture, answer a question about one (§3)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from mugato.acting.batch_policy import (
    MAX_TEXT_TOKENS,
    BatchPolicy,
    InferenceConfig,
    observation_columns,
)
from mugato.acting.sampling import row_generator
from mugato.acting.stream import TokenStream
from mugato.agent import GREEDY, Agent, Sampling
from mugato.episode import Episode, text_leaf, validate
from mugato.spec import Spec
from mugato.tokens.packing import pack
from mugato.tokens.sequence import TokenSequence, check_fits, encode, sequence
from mugato.tokens.timesteps import text_timesteps

# Options that are scored together.
ROWS = 8


def continue_text(
    agent: Agent,
    prompt: str,
    *,
    max_tokens: int = 200,
    sampling: Sampling = Sampling(temperature=0.8, top_p=0.95),
    seed: int = 0,
) -> Iterator[str]:
    """Yield pieces of text that follow the prompt, until end of text or `max_tokens`.

    An empty prompt starts a new document.

    Raises:
        ValueError: for less than one token.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    text, vocab = agent.tokenizer.text, agent.tokenizer.vocab
    start = [int(i) for i in text.encode(prompt)] or [text.end_of_text]
    tokens = sequence(text_timesteps(start), vocab)
    return _pieces(agent, tokens, start, max_tokens, sampling, seed)


def stream(
    agent: Agent, observation: Any, *, task: str, sampling: Sampling = GREEDY, seed: int = 0
) -> Iterator[str]:
    """Yield the text that answers one observation as it is written: a caption, an answer.

    Raises:
        ValueError: a task whose action is not one text, or an observation that does not fit it.
    """
    spec = agent.spec(task)
    _check_text_action(spec, task)
    observed = observation_columns(spec, [observation], task=task)
    tokens = encode(Episode(observations=observed, actions={}), spec, agent.tokenizer)
    check_fits(np.array([len(tokens)]), context_length=agent.model.config.context_length, name=task)
    return _pieces(agent, tokens, [], MAX_TEXT_TOKENS, sampling, seed)


def caption(
    agent: Agent,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    *,
    task: str,
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> list[str]:
    """Name pictures; `task` is the captions source that the agent was trained on ("emoji")."""
    _check_leaves(agent, task, observed=["image"], answered="caption")
    inference = InferenceConfig(sampling=sampling, seed=seed)
    return reply(agent, [{"image": x} for x in images], task=task, inference=inference)


def answer(
    agent: Agent,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    questions: Sequence[str],
    *,
    task: str,
    sampling: Sampling = GREEDY,
    seed: int = 0,
) -> list[str]:
    """Answer one question about each picture; `task` is the questions source ("easy-vqa")."""
    _check_leaves(agent, task, observed=["image", "question"], answered="answer")
    if len(images) != len(questions):
        raise ValueError(f"{len(images)} pictures, but {len(questions)} questions")
    inference = InferenceConfig(sampling=sampling, seed=seed)
    observations = [
        {"image": image, "question": question}
        for image, question in zip(images, questions, strict=True)
    ]
    return reply(agent, observations, task=task, inference=inference)


def reply(
    agent: Agent, observations: Sequence[Any], *, task: str, inference: InferenceConfig
) -> list[str]:
    """Answer observations together, each with the one text that the task's action holds.

    Raises:
        ValueError: as `BatchPolicy`.
    """
    (path,) = agent.spec(task).action_leaves
    policy = BatchPolicy(agent, task=task, num_rows=len(observations), inference=inference)
    return [action[path] for action in policy.select_actions(observations)]


def score_options(
    agent: Agent, observation: Any, options: Sequence[str], *, task: str
) -> list[float]:
    """How likely the agent finds each text as its answer to an observation.

    Returns:
        For each option the mean log-likelihood of its tokens, its end of text included, in nats.

    Raises:
        ValueError: no options, a task whose action is not one text, an observation that does not
            fit it, or an option that the context cannot hold beside it.
    """
    spec = agent.spec(task)
    if isinstance(options, str) or not options:
        raise ValueError(f"{task}: options are one text or more in a list, got {options!r}")
    _check_text_action(spec, task)
    observed = observation_columns(spec, [observation], task=task)
    (path,) = spec.action_leaves
    episodes = [
        validate(Episode(observations=observed, actions={path: text_leaf(o)}, name=task), spec)
        for o in options
    ]
    sequences = [encode(e, spec, agent.tokenizer) for e in episodes]
    longest, context_length = max(map(len, sequences)), agent.model.config.context_length
    if longest > context_length:
        raise ValueError(
            f"{task}: the observation and its longest option take {longest} tokens, but the "
            f"context holds {context_length}"
        )
    return log_likelihoods(agent, sequences)


@torch.inference_mode()
def log_likelihoods(agent: Agent, sequences: Sequence[TokenSequence]) -> list[float]:
    """Return the mean log-likelihood of each sequence's targets, in nats."""
    device = agent.model.embedding.table.weight.device
    length, scores = max(map(len, sequences)), []
    for start in range(0, len(sequences), ROWS):
        rows = [replace(s, source=row) for row, s in enumerate(sequences[start : start + ROWS])]
        losses = agent.model(pack(rows, length=length).to(device))
        scores += [-float(losses.values[losses.sources == row].mean()) for row in range(len(rows))]
    return scores


def _check_leaves(agent: Agent, task: str, *, observed: Sequence[str], answered: str) -> None:
    spec = agent.spec(task)
    found = sorted(spec.observation_leaves), sorted(spec.action_leaves)
    if found != (list(observed), [answered]):
        raise ValueError(
            f"{task} observes {found[0]} and answers with {found[1]}, not {list(observed)} and "
            f"{[answered]}"
        )


def _check_text_action(spec: Spec, task: str) -> None:
    kinds = [leaf.kind for leaf in spec.action_leaves.values()]
    if kinds != ["text"]:
        raise ValueError(f"{task} does not answer with one text: its action is {kinds}")


def _pieces(
    agent: Agent,
    tokens: TokenSequence,
    ids: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    seed: int,
) -> Iterator[str]:
    """Text that follows what was read; `ids` are those of the text before it."""
    text, legal = agent.tokenizer.text, agent.tokenizer.text_ids
    generators, ids = [row_generator(seed)], list(ids)
    with torch.inference_mode():
        stream = TokenStream(agent.model, num_rows=1, precision="auto")
        stream.prefill(tokens)
    shown = len(text.decode(ids))
    for _ in range(max_tokens):
        with torch.inference_mode():
            chosen = int(stream.decode(legal, sampling, generators))
        if chosen == text.end_of_text:
            break
        ids.append(chosen)
        whole = text.decode(ids)
        if not whole.endswith("\ufffd"):  # a character may take several byte pieces
            yield whole[shown:]
            shown = len(whole)
    if rest := text.decode(ids)[shown:]:
        yield rest
