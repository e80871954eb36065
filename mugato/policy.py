"""Observation to action, with memory: the agent as its environment sees it (§2.5).

The same code path as in training turns an observation into tokens; the ids decoded are restricted
to those legal for each element of the action, so every action lies in its space.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mugato.agent import Agent
from mugato.decoding import Decoder
from mugato.episode import Episode, check_leaf
from mugato.precision import Precision, autocast
from mugato.sampling import Sampling
from mugato.sequence import TokenSequence, check_fits, encode
from mugato.spec import Leaf, Spec, flatten, unflatten

MAX_TEXT_TOKENS = 64


class Policy:
    """One task's policy, for one environment or for several that step together.

    >>> policy = Policy.from_pretrained("runs/demo", task="cartpole")  # doctest: +SKIP
    >>> policy.reset()  # doctest: +SKIP
    >>> action = policy.select_action(observation)  # doctest: +SKIP
    """

    def __init__(
        self,
        agent: Agent,
        *,
        task: str,
        num_rows: int = 1,
        sampling: Sampling = Sampling(),
        seed: int = 0,
        precision: Precision = "auto",
    ) -> None:
        if num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, got {num_rows}")
        self.agent, self.task, self.num_rows, self.sampling = agent, task, num_rows, sampling
        self.spec: Spec = agent.spec(task)
        if not self.spec.observation_leaves:
            raise ValueError(
                f"{task!r} is plain text: use mugato.generate, there is nothing to observe"
            )
        self._precision: Precision = precision
        self._device = agent.model.embedding.table.weight.device
        # On the processor, so that a seed means the same on every device.
        self._generators = [torch.Generator().manual_seed(seed + row) for row in range(num_rows)]
        self._decoder: Decoder | None = None
        self.reset()

    @staticmethod
    def from_pretrained(
        folder: str | Path, *, task: str, device: torch.device | str = "cpu", **options: Any
    ) -> "Policy":
        """Load an agent for one of the tasks it was trained on; `options` as in `Policy`.

        Raises:
            ValueError: no checkpoint, a corrupt one, or a task that the agent does not know.
        """
        return Policy(Agent.from_pretrained(folder, device=device), task=task, **options)

    def reset(self) -> None:
        """Forget everything: a new episode begins in every row."""
        self._decoder = None
        self._timestep = 0
        self._running = list(range(self.num_rows))

    def select_action(self, observation: Any) -> Any:
        """The action that answers one observation, a value of the task's action space."""
        return self.select_actions([observation])[0]

    @torch.inference_mode()
    def select_actions(self, observations: Sequence[Any]) -> list[Any]:
        """One action for each row's observation.

        Raises:
            ValueError: an observation that does not fit the task's spec, naming the leaf.
        """
        if len(observations) != len(self._running):
            raise ValueError(
                f"{len(observations)} observations for {len(self._running)} running episodes"
            )
        encoded = [self._encode(observation) for observation in observations]
        with autocast(self._device, self._precision):
            if self._decoder is None or self._timestep == self.spec.history:
                self._decoder = Decoder(self.agent.model, num_rows=len(encoded))
                self._timestep = 0
            self._timestep += 1
            self._decoder.read(encoded)
            return self._decode()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only: the other episodes are over."""
        self._running = [self._running[row] for row in rows]
        if self._decoder is not None:
            self._decoder.select(rows)

    @property
    def _drawing(self) -> list[torch.Generator]:
        """The generators of the running rows."""
        return [self._generators[row] for row in self._running]

    def _encode(self, observation: Any) -> TokenSequence:
        """One observation as tokens, separator last."""
        try:
            values = flatten(self.spec.observation, observation, "observation")
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{self.task}: the observation does not have the task's structure: {error!r}; "
                f"expected {sorted(self.spec.observation_leaves)}"
            ) from None
        leaves = self.spec.observation_leaves
        stacked = {path: _stack(self.task, path, leaves[path], v) for path, v in values.items()}
        episode = Episode(observations=stacked, actions={})
        encoded = encode(episode, self.spec, self.agent.tokenizer)
        context_length = self.agent.model.config.context_length
        check_fits(np.array([len(encoded)]), context_length=context_length, name=self.task)
        return encoded

    def _decode(self) -> list[Any]:
        """One action for each row."""
        leaves = self.spec.action_leaves
        columns = {path: self._decode_leaf(leaf) for path, leaf in leaves.items()}
        return [
            unflatten(
                self.spec.action, {path: column[row] for path, column in columns.items()}, "action"
            )
            for row in range(len(columns[next(iter(columns))]))
        ]

    def _decode_leaf(self, leaf: Leaf) -> list[Any]:
        """One leaf of the action for each row, element by element."""
        tokenizer, decoder = self.agent.tokenizer, self._decoder
        assert decoder is not None
        if leaf.kind == "text":
            texts = decode_text(decoder, self.agent, self.sampling, self._drawing)
            return [tokenizer.decode(leaf, np.array(ids), is_action=True) for ids in texts]
        chosen = [
            decoder.decode(tokenizer.legal_ids(leaf, i), self.sampling, self._drawing)
            for i in range(leaf.size)
        ]
        ids = torch.stack(chosen, dim=1).cpu().numpy()
        return [_scalar(leaf, tokenizer.decode(leaf, row, is_action=True)) for row in ids]


def decode_text(
    decoder: Decoder,
    agent: Agent,
    sampling: Sampling,
    generators: Sequence[torch.Generator],
    *,
    max_tokens: int = MAX_TEXT_TOKENS,
) -> list[list[int]]:
    """Each row's ids up to its end of text."""
    text = agent.tokenizer.text
    legal = agent.tokenizer.text_ids
    active = torch.ones(len(decoder), dtype=torch.bool, device=decoder.device)
    rows: list[list[int]] = [[] for _ in range(len(decoder))]
    for _ in range(max_tokens):
        chosen = decoder.decode(legal, sampling, generators, active=active)
        _append(rows, chosen.tolist(), active.tolist())
        active = active & (chosen != text.end_of_text)
        if not active.any():
            break
    return rows


def _append(rows: list[list[int]], chosen: Iterable[int], active: Iterable[bool]) -> None:
    for row, token, is_active in zip(rows, chosen, active, strict=True):
        if is_active:
            row.append(token)


def _stack(task: str, path: str, leaf: Leaf, value: Any) -> np.ndarray:
    """One value with a leading axis of one timestep, checked against its leaf."""
    text = leaf.kind == "text"
    stacked = np.array([value], dtype=object) if text else np.asarray(value)[None]
    check_leaf(f"{task}: observation {path!r}", stacked, leaf, 1, is_action=False)
    return stacked


def _scalar(leaf: Leaf, value: np.ndarray) -> Any:
    """Gymnasium's Discrete takes a NumPy scalar, not an array."""
    return value[()] if leaf.kind == "discrete" and leaf.shape == () else value
