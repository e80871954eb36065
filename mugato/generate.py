"""Text from the agent: continue a text, caption a picture, answer a question about one (§3)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from mugato.agent import Agent
from mugato.decoding import Decoder
from mugato.policy import Policy
from mugato.sampling import GREEDY, Sampling
from mugato.sequence import sequence
from mugato.timesteps import text_timesteps


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
    """
    text, vocab = agent.tokenizer.text, agent.tokenizer.vocab
    generators = [torch.Generator().manual_seed(seed)]
    legal = agent.tokenizer.text_ids
    start = list(text.encode(prompt)) or [text.end_of_text]
    ids = [int(i) for i in start]
    with torch.inference_mode():
        decoder = Decoder(agent.model, num_rows=1, precision="auto")
        decoder.read(sequence(text_timesteps(ids), vocab), np.zeros(len(ids), np.int64))
    shown = len(text.decode(ids))
    for _ in range(max_tokens):
        with torch.inference_mode():
            chosen = int(decoder.decode(legal, sampling, generators))
        if chosen == text.end_of_text:
            return
        ids.append(chosen)
        whole = text.decode(ids)
        if not whole.endswith("\ufffd"):  # a character may take several byte pieces
            yield whole[shown:]
            shown = len(whole)


def caption(agent: Agent, images: Sequence[UInt8[np.ndarray, "h w 3"]], *, task: str) -> list[str]:
    """Name pictures; `task` is the captions source that the agent was trained on ("emoji")."""
    policy = Policy(agent, task=task, num_rows=len(images), sampling=GREEDY)
    return [action["caption"] for action in policy.select_actions([{"image": x} for x in images])]


def answer(
    agent: Agent,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    questions: Sequence[str],
    *,
    task: str,
) -> list[str]:
    """Answer one question about each picture; `task` is the questions source ("easy-vqa")."""
    policy = Policy(agent, task=task, num_rows=len(images), sampling=GREEDY)
    observations = [
        {"image": image, "question": question}
        for image, question in zip(images, questions, strict=True)
    ]
    return [action["answer"] for action in policy.select_actions(observations)]
