"""Episodes of one task that step together: what every policy and the evaluation stand on (§2.5).

The same code path as in training turns observations into tokens; the ids decoded are restricted
to those legal for each element of the action, so every action lies in its space.
"""

import logging
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mugato.acting.prompt import Prompt, PromptPart, prompt_tokens
from mugato.acting.sampling import row_generator
from mugato.acting.stream import TokenStream
from mugato.agent import Agent, Sampling
from mugato.episode import Episode, check_leaf, stack_values
from mugato.model.precision import Precision
from mugato.spec import Leaf, Spec, flatten, surplus_keys, unflatten
from mugato.tasks.conform import as_array, detached
from mugato.tokens.sequence import TokenSequence, check_fits, encode

logger = logging.getLogger(__name__)

MAX_TEXT_TOKENS = 64
MAX_SEED = 2**62  # with an episode's own seed added PyTorch's generators still take it


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How an agent acts.

    Attributes:
        sampling: how ids are chosen; as the agent keeps it for the task if None.
        seed: of the sampling; environments have seeds of their own.
        prompt: read at every reset: a demonstration of the task, or a text.
        prompt_part: what of a demonstration is read where the context cannot hold it all.
        precision: "bf16" stores the weights anew, "auto" where that is quicker on this machine,
            "fp32" is exact.
        device: where an agent is loaded to: "cpu", "cuda", "cuda:1", "mps", or "auto", a CUDA GPU
            if there is one.
        max_text_tokens: a text that does not end before is cut there, and a warning says so.
        min_text_tokens: a text does not end before.
    """

    sampling: Sampling | None = None
    seed: int | np.integer = 0
    prompt: Prompt | None = None
    prompt_part: PromptPart = "start"
    precision: Precision = "auto"
    device: str = "cpu"
    max_text_tokens: int = MAX_TEXT_TOKENS
    min_text_tokens: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", operator.index(self.seed))  # NumPy's integers, too
        if abs(self.seed) >= MAX_SEED:
            raise ValueError(f"seed must be less than 2**62, got {self.seed}")
        if not 0 <= self.min_text_tokens < self.max_text_tokens:
            raise ValueError(
                f"min_text_tokens must be at least 0 and less than max_text_tokens, got "
                f"{self.min_text_tokens} and {self.max_text_tokens}"
            )


class BatchPolicy:
    """Rows that act for one task, each in an episode of its own.

    A row can begin anew, leave, or draw from a seed of its own without the others noticing.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        task: str,
        num_rows: int,
        inference: InferenceConfig = InferenceConfig(),
    ) -> None:
        """Begin an episode in every row.

        Raises:
            ValueError: a task that the agent does not know or that observes nothing, a prompt
                that does not fit it, or less than one row.
        """
        if num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, got {num_rows}")
        self.agent, self.task = agent, task
        self.sampling = inference.sampling or agent.task(task).sampling
        self.spec: Spec = agent.spec(task)
        self._history = agent.history(task)
        self._text_tokens = range(inference.min_text_tokens, inference.max_text_tokens)
        if not self.spec.observation_leaves:
            raise ValueError(
                f"{task!r} is plain text: use mugato.acting.text, there is nothing to observe"
            )
        self._generators = [row_generator(int(inference.seed), row) for row in range(num_rows)]
        with torch.inference_mode():
            # What every episode begins with: nothing, or the prompt.
            self._start = TokenStream(agent.model, num_rows=1, precision=inference.precision)
            if (prompt := inference.prompt) is not None:
                part = inference.prompt_part
                self._start.prefill(prompt_tokens(agent, prompt, task=task, part=part))
            self._stream = self._start.select([0] * num_rows)
        self._timesteps = np.zeros(num_rows, np.int64)

    @property
    def num_rows(self) -> int:
        """Number of rows that act."""
        return len(self._generators)

    def select_action(self, observations: Any) -> Any:
        """Choose every row's action; observations and actions are batched as Gymnasium does.

        Raises:
            ValueError: an observation that does not fit the task's spec, naming leaf and row.
        """
        values = flat_observation(self.spec, observations, task=self.task)
        leaves = self.spec.observation_leaves
        columns = {
            path: _column(f"{self.task}: observation {path!r}", leaves[path], rows, self.num_rows)
            for path, rows in values.items()
        }
        return unflatten(self.spec.action, self._select(columns), "action")

    def select_actions(
        self, observations: Sequence[Any], *, given: Sequence[Any | None] | None = None
    ) -> list[Any]:
        """Choose an action for each row's observation, in lists.

        Args:
            given: actions that are taken in the place of a choice, and remembered as if chosen:
                somebody else drives. None where a row chooses.

        Raises:
            ValueError: as `select_action`; a given action with a text.
        """
        if len(observations) != self.num_rows:
            raise ValueError(f"{len(observations)} observations for {self.num_rows} rows")
        columns = observation_columns(self.spec, observations, task=self.task)
        columns = self._select(columns, self._given_ids(given or ()))
        leaves = self.spec.action_leaves.items()
        actions = (
            {path: _value_of_row(leaf, columns[path], row) for path, leaf in leaves}
            for row in range(self.num_rows)
        )
        return [unflatten(self.spec.action, values, "action") for values in actions]

    @torch.inference_mode()
    def reset(self, rows: Sequence[bool] | Bool[np.ndarray, " rows"] | None = None) -> None:
        """Begin a new episode in every marked row, or in all: forget everything but the prompt.

        Raises:
            ValueError: if there is not one mark for each row.
        """
        marked = np.ones(self.num_rows, np.bool_) if rows is None else self.marks(rows)
        if marked.any():
            on_device = torch.from_numpy(marked).to(self._stream.device)
            self._stream.copy_rows_from(self._start, on_device)
            self._timesteps[marked] = 0

    @torch.inference_mode()
    def select_rows(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only: the other episodes are over."""
        self._stream = self._stream.select(rows)
        self._timesteps = self._timesteps[list(rows)]
        self._generators = [self._generators[row] for row in rows]

    def seed_row(self, row: int, seed: int) -> None:
        """Seed one row: its episode then depends on nothing that is played beside it."""
        self._generators[row].manual_seed(seed)

    def marks(self, rows: Sequence[bool] | np.ndarray) -> Bool[np.ndarray, " rows"]:
        """Return one truth value a row as an array.

        Raises:
            ValueError: another number of values, or others than True and False.
        """
        marked = np.asarray(rows)
        if marked.shape != (self.num_rows,) or marked.dtype != np.bool_:
            raise ValueError(
                f"rows must be {self.num_rows} times True or False, got {marked.dtype} of "
                f"shape {marked.shape}"
            )
        return marked

    @torch.inference_mode()
    def _select(
        self, observations: Mapping[str, np.ndarray], given: Mapping[str, Tensor] | None = None
    ) -> dict[str, Sequence[Any] | np.ndarray]:
        """Choose each action leaf's values from each observation leaf's, (rows, *shape)."""
        tokens = self._encode(observations)
        if self._history is not None:
            self.reset(self._timesteps == self._history)
        self._timesteps += 1
        self._stream.prefill(tokens, tokens.timesteps)
        leaves = self.spec.action_leaves.items()
        return {path: self._decode(leaf, (given or {}).get(path)) for path, leaf in leaves}

    def _given_ids(self, given: Sequence[Any | None]) -> dict[str, Int[Tensor, "rows elements"]]:
        """Return the ids of given actions, -1 in rows that have none; nothing if no row has one."""
        rows = [row for row, action in enumerate(given) if action is not None]
        found = {}
        flat = [flatten(self.spec.action, given[row], "action") for row in rows]
        for path, leaf in self.spec.action_leaves.items() if rows else ():
            if leaf.kind == "text":
                raise ValueError(f"{self.task}: action {path!r} is a text, which cannot be given")
            values = stack_values(leaf, [action[path] for action in flat])
            tokens, _ = self.agent.tokenizer.encode(leaf, values, is_action=True)
            ids = np.full((self.num_rows, leaf.size), -1)
            ids[rows] = tokens[..., 0]
            found[path] = torch.from_numpy(ids).to(self._stream.device)
        return found

    def _encode(self, observations: Mapping[str, np.ndarray]) -> TokenSequence:
        """Encode all rows' observations in one go, each as a timestep without an action."""
        episode = Episode(observations=observations, actions={})
        encoded = encode(episode, self.spec, self.agent.tokenizer)
        context_length = self.agent.model.config.context_length
        check_fits(np.bincount(encoded.timesteps), context_length=context_length, name=self.task)
        return encoded

    def _decode(
        self, leaf: Leaf, given: Int[Tensor, "rows elements"] | None
    ) -> Sequence[Any] | np.ndarray:
        """Decode one leaf of each row's action by its elements: texts, or (rows, *shape)."""
        tokenizer, sampling = self.agent.tokenizer, self.sampling
        if leaf.kind != "continuous":
            sampling = replace(sampling, continuous="sample")
        if leaf.kind == "text":
            return tuple(
                tokenizer.decode(leaf, np.array(ids), is_action=True)
                for ids in self._decode_texts(sampling)
            )
        values = None
        if sampling.continuous == "mean":
            values = torch.from_numpy(tokenizer.bin_values(leaf)).float()
        chosen = [
            self._stream.decode(
                tokenizer.legal_ids(leaf, i),
                sampling,
                self._generators,
                given=None if given is None else given[:, i],
                values=values,
            )
            for i in range(leaf.size)
        ]
        ids = torch.stack(chosen, dim=1).cpu().numpy()
        return tokenizer.decode(_leaf_of_rows(leaf, len(ids)), ids.reshape(-1), is_action=True)

    def _decode_texts(self, sampling: Sampling) -> list[list[int]]:
        """Decode a text for each row; say where one is cut."""
        text_ids, lengths = self.agent.tokenizer.text_ids, self._text_tokens
        texts = self._stream.decode_text(text_ids, sampling, self._generators, lengths=lengths)
        for row, ids in enumerate(texts):
            if ids[-1] != text_ids[0]:
                logger.warning(
                    "%s: the text of row %d is cut at %d tokens", self.task, row, len(ids)
                )
        return texts


def flat_observation(spec: Spec, observation: Any, *, task: str) -> dict[str, Any]:
    """Return an observation's leaves by path.

    Raises:
        ValueError: if its structure is not the task's: what is missing, or what is too much.
    """
    try:
        if surplus := surplus_keys(spec.observation, observation):
            raise ValueError(
                f"{task}: the observation has {surplus}, which the task has not; expected "
                f"{sorted(spec.observation_leaves)}"
            )
        return flatten(spec.observation, observation, "observation")
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{task}: the observation does not have the task's structure: {error!r}; "
            f"expected {sorted(spec.observation_leaves)}"
        ) from None


def observation_columns(
    spec: Spec, observations: Sequence[Any], *, task: str
) -> dict[str, np.ndarray]:
    """Return each leaf of several observations as one checked array, (rows, *shape).

    Raises:
        ValueError: an observation that does not fit the spec, naming leaf and row.
    """
    flat = [flat_observation(spec, one, task=task) for one in observations]
    return {
        path: _column(
            f"{task}: observation {path!r}", leaf, [values[path] for values in flat], len(flat)
        )
        for path, leaf in spec.observation_leaves.items()
    }


def _column(
    where: str, leaf: Leaf, values: Sequence[Any] | np.ndarray, num_rows: int
) -> np.ndarray:
    """Stack and check one leaf of all rows; of several rows the wrong one is named."""
    if len(values) != num_rows:
        raise ValueError(f"{len(values)} observations for {num_rows} rows")
    if leaf.kind != "text" and not isinstance(values, np.ndarray):
        values = [_as_array(where, leaf, value) for value in values]
    try:
        stacked = stack_values(leaf, values)
        check_leaf(where, stacked, leaf, num_rows, is_action=False)
        return stacked
    except ValueError:
        if num_rows > 1:
            for row, value in enumerate(values):
                alone = stack_values(leaf, [value])
                check_leaf(f"{where} of row {row}", alone, leaf, 1, is_action=False)
        raise


def _as_array(where: str, leaf: Leaf, value: Any) -> Any:
    """Return a tensor (with a gradient, of any type) or a list as an array, others as they are."""
    if hasattr(value, "detach") or isinstance(value, (list, tuple)):
        return as_array(detached(value), dtype=np.dtype(leaf.dtype), shape=leaf.shape, where=where)
    return value


@lru_cache(maxsize=64)
def _leaf_of_rows(leaf: Leaf, rows: int) -> Leaf:
    """Return a leaf that holds one value for each row, made once."""
    return leaf.stacked(rows)


def _value_of_row(leaf: Leaf, column: Sequence[Any] | np.ndarray, row: int) -> Any:
    """Return one row's value: a NumPy scalar for Gymnasium's Discrete, else text or an array."""
    if leaf.kind == "text" or (leaf.kind == "discrete" and leaf.shape == ()):
        return column[row]
    return np.asarray(column[row])
