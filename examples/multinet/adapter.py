"""The agent behind MultiNet's adapter: a baseline for that benchmark (Manifold Research, v1.0).

Where the agent was trained on a data set, its own task's spec says what it sees. Otherwise a spec
is made from the observation, and the agent answers without having learned to: a valid answer, not
an informed one. Nothing of the benchmark's is imported; docs/multinet.md has the five lines that
plug this in.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from examples.multinet.posing import MAX_TEXT_TOKENS, ModelRequest, PosingConfig, pose
from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
from mugato.acting.text import log_likelihoods
from mugato.agent import GREEDY, Agent, Sampling
from mugato.data.formats.multinet.answers import calls_or_name, normalize_answer
from mugato.data.formats.multinet.requests import DATASETS, Request
from mugato.episode import Episode, stack_values, text_leaf
from mugato.spec import unflatten
from mugato.tokens.sequence import TokenSequence, encode

Prediction = dict[str, Any]

# What strays least from an expert: the bin likeliest of all is often the one at a bound.
MEDIAN = Sampling(continuous="median")


class MultiNetAdapter:
    """Answers MultiNet's questions, each for itself: nothing is remembered between calls.

    The harness makes it without arguments and gives it a device and a seed, so the agent's folder
    is named in the class, and so is which of its tasks answers a data set, where names differ:

    >>> class Adapter(MultiNetAdapter):
    ...     agent_folder = "runs/demo"
    ...     agent_tasks = {"openx_single_arm": "lerobot:bridge"}
    >>> Adapter().supported_datasets[:3]
    ['overcooked_ai', 'piqa', 'odinw']
    """

    agent_folder: ClassVar[str | Path] = "runs/demo"
    agent_tasks: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.model_name, self.model_type = "mugato", "generalist"
        self._is_initialized = False
        self._agent: Agent | None = None
        self._seed, self._vectors, self._posing = 0, MEDIAN, PosingConfig()

    @property
    def supported_datasets(self) -> list[str]:
        return list(DATASETS)

    def initialize(
        self,
        *,
        agent: Agent | str | Path | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        vectors: Sampling = MEDIAN,
        max_text_tokens: int = MAX_TEXT_TOKENS,
        **unknown: Any,
    ) -> None:
        """Load the agent.

        Args:
            agent: a folder other than the class's, or an agent that is loaded already.
            seed: of vectors that are sampled, each differently and always in the same way;
                whatever is asked before changes nothing.
            vectors: how a robot's action is taken from its distribution.
            max_text_tokens: texts that do not end before are cut there, and a warning says so.
            unknown: what a harness may hand to every model; it is warned of and changes nothing.

        Raises:
            ValueError: the folder holds no agent, or there is room for no text.
        """
        if unknown:
            warnings.warn(f"initialize does not know {sorted(unknown)}", stacklevel=2)
        self._posing = PosingConfig(tasks=self.agent_tasks, max_text_tokens=max_text_tokens)
        self._vectors = vectors
        if not isinstance(agent, Agent):
            agent = Agent.from_pretrained(agent or self.agent_folder, device=device)
        self._agent, self._seed, self._is_initialized = agent, seed, True

    def reset(self) -> None:
        """Begin an episode: there is nothing to forget."""

    def predict_action(
        self,
        observation: Any,
        instruction: Any = None,
        dataset_name: str | None = None,
        history: Sequence[Any] | None = None,
    ) -> Prediction:
        """Answer one observation; arguments and errors as in `batch_predict_actions`."""
        return self.batch_predict_actions([observation], [instruction], dataset_name, [history])[0]

    @torch.inference_mode()
    def batch_predict_actions(
        self,
        observations: Sequence[Any],
        instructions: Sequence[Any] | None = None,
        dataset_name: str | None = None,
        histories: Sequence[Sequence[Any] | None] | None = None,
    ) -> list[Prediction]:
        """Answer each observation as if it were alone.

        Args:
            instructions: texts, or texts in lists within lists.
            histories: for each observation what came before: messages `{"role", "content"}`, which
                join the text, or pairs of an observation and the action that answered it, which are
                earlier timesteps. Of both, as much as the context holds.

        Returns:
            `{"raw_output": text, "extracted_outputs": index, vector, text or list of calls}`.

        Raises:
            RuntimeError: before `initialize`.
            ValueError: an unknown data set or a malformed observation, saying which.
        """
        if self._agent is None:
            raise RuntimeError("call initialize() first: no agent is loaded")
        if instructions is None:
            instructions = [None] * len(observations)
        if histories is None:
            histories = [None] * len(observations)
        if not len(observations) == len(instructions) == len(histories):
            raise ValueError(
                f"{len(observations)} observations, but {len(instructions)} instructions and "
                f"{len(histories)} histories"
            )
        posed = []
        for row, asked in enumerate(zip(observations, instructions, histories, strict=True)):
            try:
                posed.append(pose(self._agent, dataset_name, *asked, self._posing))
            except ValueError as error:
                where = f"observation {row} of the batch: " if len(observations) > 1 else ""
                raise ValueError(f"{where}{error}") from None
        predictions: dict[int, Prediction] = {}
        for rows in _groups(posed):
            given = self._answers([posed[row] for row in rows])
            predictions |= dict(zip(rows, given, strict=True))
        return [predictions[row] for row in range(len(posed))]

    def _answers(self, posed: Sequence[ModelRequest]) -> list[Prediction]:
        """Answer requests of one spec; those with a past only one at a time."""
        first = posed[0]
        if first.request.answer == "choice" and first.leaf.kind == "text":
            return [_choose(one) for one in posed]
        sampling = self._vectors if first.leaf.kind == "continuous" else GREEDY
        most = self._posing.max_text_tokens
        inference = InferenceConfig(
            prompt=first.past, prompt_part="end", sampling=sampling, precision="fp32",
            max_text_tokens=most, min_text_tokens=min(1, most - 1),
        )  # fmt: skip
        policy = BatchPolicy(
            first.agent, task=first.request.dataset, num_rows=len(posed), inference=inference
        )
        for row, one in enumerate(posed):
            policy.seed_row(row, _seed_of(one.request, self._seed))
        actions = policy.select_actions(
            [unflatten(one.spec.observation, one.current, "observation") for one in posed]
        )
        return [_prediction(one.request, act) for one, act in zip(posed, actions, strict=True)]


def _groups(posed: Sequence[ModelRequest]) -> list[list[int]]:
    """Rows that are answered together: those of one spec, unless timesteps come before."""
    groups: dict[str, list[int]] = {}
    for row, one in enumerate(posed):
        groups.setdefault(str(row) if one.past else repr(one.spec), []).append(row)
    return list(groups.values())


def _seed_of(request: Request, seed: int) -> int:
    """Return a seed that differs between requests and depends on nothing else."""
    digest = hashlib.sha256(f"{seed} {request.dataset} {request.text}".encode())
    for values in (request.image, request.state):
        digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _prediction(request: Request, action: Any) -> Prediction:
    match request.answer:
        case "vector":
            # A trained task's own bounds may reach further than these.
            vector = np.clip(np.asarray(action, np.float64), request.low, request.high)
            return {"raw_output": str(vector.tolist()), "extracted_outputs": vector}
        case "text":
            return {"raw_output": action, "extracted_outputs": normalize_answer(action)}
        case "calls":
            return {"raw_output": action, "extracted_outputs": calls_or_name(action)}
    return {"raw_output": str(action), "extracted_outputs": int(action)}


def _choose(posed: ModelRequest) -> Prediction:
    """Choose the option whose tokens are the likeliest on average, its end included."""
    options = posed.request.options
    sequences = [_with_option(posed, option) for option in options]
    best = int(np.argmax(log_likelihoods(posed.agent, sequences)))
    return {"raw_output": options[best], "extracted_outputs": best}


def _with_option(posed: ModelRequest, option: str) -> TokenSequence:
    """Encode the request answered by an option, after as much of the past as the context holds."""
    observed, spec = posed.spec.observation_leaves, posed.spec
    now = Episode(
        observations={
            path: stack_values(leaf, [posed.current[path]]) for path, leaf in observed.items()
        },
        actions={"action": text_leaf(option)},
    )
    episode = now if posed.past is None else Episode.joined([posed.past, now])
    tokens = encode(episode, spec, posed.agent.tokenizer)
    while len(tokens) > posed.agent.model.config.context_length:
        episode = episode.window(1, len(episode))
        tokens = encode(episode, spec, posed.agent.tokenizer)
    is_last = tokens.timesteps == len(episode) - 1
    return replace(tokens, loss_mask=tokens.loss_mask & is_last)
