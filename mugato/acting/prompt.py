"""What an agent reads before its first observation: a demonstration, or a text (§2.5).

The paper's agent is told its task by the beginning of an expert's episode of it.
"""

from typing import Literal

import numpy as np

from mugato.agent import Agent
from mugato.episode import Episode, validate
from mugato.tokens.sequence import TokenSequence, check_fits, encode, sequence
from mugato.tokens.timesteps import text_timesteps

Prompt = Episode | str
PromptPart = Literal["start", "end"]

# Tokens of a demonstration that are read (§2.5).
LENGTH = 1024


def prompt_tokens(agent: Agent, prompt: Prompt, *, task: str, part: PromptPart) -> TokenSequence:
    """Encode a prompt.

    Of a demonstration whole timesteps are taken, up to 1,024 tokens or as many as the context
    holds, from its start or up to its end; a text is taken as a document that goes on.

    Raises:
        ValueError: neither an episode nor a text, an episode that does not fit the task's spec, a
            timestep or a text that the context cannot hold, an empty text, or a task whose history
            would forget the prompt.
    """
    if part not in ("start", "end"):
        raise ValueError(f"a prompt's part is 'start' or 'end', not {part!r}")
    spec, context_length = agent.spec(task), agent.model.config.context_length
    if (history := agent.history(task)) is not None:
        raise ValueError(
            f"{task}: the agent forgets everything after {history} timesteps, as it was trained or "
            "as `mugato tune` found best; a prompt would be forgotten too"
        )
    if isinstance(prompt, str):
        ids = agent.tokenizer.text.encode(prompt)
        if not 0 < len(ids) <= context_length:
            raise ValueError(
                f"{task}: a text prompt must have 1 to {context_length} tokens, this has {len(ids)}"
            )
        return sequence(text_timesteps(ids), agent.tokenizer.vocab)
    if not isinstance(prompt, Episode):
        raise ValueError(f"{task}: a prompt is an Episode or a text, not {type(prompt).__name__}")
    episode = validate(prompt, spec).as_executed
    counts = np.bincount(encode(episode, spec, agent.tokenizer).timesteps)
    length = min(LENGTH, context_length)
    check_fits(counts, context_length=length, name=episode.name)
    if part == "start":
        number = int((np.cumsum(counts) <= length).sum())
        episode = episode.window(0, number)
    else:
        number = int((np.cumsum(counts[::-1]) <= length).sum())
        episode = episode.window(len(episode) - number, len(episode))
    return encode(episode, spec, agent.tokenizer)
