"""Observation to action, with memory: the agent as its environment sees it (§2.5).

The same code path as in training turns an observation into tokens; the ids decoded are restricted
to those legal for each element of the action, so every action lies in its space.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool

from mugato.acting.batching import leaf_of_rows, stack_rows, value_of_row
from mugato.acting.compatibility import check_agreement
from mugato.acting.prompt import Prompt, PromptPart, prompt_tokens
from mugato.acting.sampling import Sampling, row_generator
from mugato.acting.stream import TokenStream
from mugato.agent import Agent
from mugato.episode import Episode
from mugato.model.precision import Precision
from mugato.spec import Leaf, Spec, flatten, unflatten
from mugato.tokens.sequence import TokenSequence, check_fits, encode

MAX_TEXT_TOKENS = 64


class Policy:
    """One task's policy, for one environment or for several that step together.

    >>> policy = Policy.from_pretrained("runs/demo", task="cartpole")  # doctest: +SKIP
    >>> policy.reset()  # doctest: +SKIP
    >>> action = policy.select_action(observation)  # doctest: +SKIP

    With `num_rows` it acts in a Gymnasium `VectorEnv`: batched observations in, batched actions
    out. Episodes end one by one, and the rows begin anew when their next episode does:

    >>> policy = Policy.from_pretrained("runs/demo", task="cartpole", num_rows=8)  # doctest: +SKIP
    >>> policy.check(envs)  # doctest: +SKIP
    >>> actions = policy.select_action(observations)  # doctest: +SKIP
    >>> observations, rewards, terminated, truncated, _ = envs.step(actions)  # doctest: +SKIP
    >>> policy.end(terminated | truncated)  # doctest: +SKIP
    """

    def __init__(
        self,
        agent: Agent,
        *,
        task: str,
        num_rows: int | None = None,
        prompt: Prompt | None = None,
        prompt_part: PromptPart = "start",
        sampling: Sampling = Sampling(),
        seed: int = 0,
        precision: Precision = "auto",
    ) -> None:
        """Begin an episode in every row.

        Args:
            num_rows: None for one environment; a number for as many that step together.
            prompt: read at every reset: a demonstration of the task, or a text.
            prompt_part: what of a demonstration is read where the context cannot hold it all.
            precision: "bf16" stores the weights anew, "auto" where that is quicker.

        Raises:
            ValueError: a task that the agent does not know or that observes nothing, or a prompt
                that does not fit it.
        """
        if num_rows is not None and num_rows < 1:
            raise ValueError(f"num_rows must be at least 1, got {num_rows}")
        self.agent, self.task, self.sampling = agent, task, sampling
        self.is_vector, self.num_rows = num_rows is not None, num_rows or 1
        self.spec: Spec = agent.spec(task)
        self._history = agent.history(task)
        if not self.spec.observation_leaves:
            raise ValueError(
                f"{task!r} is plain text: use mugato.acting.text, there is nothing to observe"
            )
        self._autoreset = AutoresetMode.NEXT_STEP
        self._generators = [row_generator(seed, row) for row in range(self.num_rows)]
        with torch.inference_mode():
            # What every episode begins with: nothing, or the prompt.
            self._start = TokenStream(agent.model, num_rows=1, precision=precision)
            if prompt is not None:
                tokens = prompt_tokens(agent, prompt, task=task, part=prompt_part)
                self._start.prefill(tokens)
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

    def check(self, env: gymnasium.Env | VectorEnv) -> None:
        """See that an environment is the task's, and learn when it resets itself.

        Raises:
            ValueError: other spaces than the agent was trained on, showing both specs; or another
                number of environments than there are rows.
        """
        check_agreement(self.spec, env, task=self.task)
        if isinstance(env, VectorEnv):
            if env.num_envs != self.num_rows or not self.is_vector:
                rows = self.num_rows if self.is_vector else None
                raise ValueError(f"{env.num_envs} environments, but num_rows is {rows}")
            # Gymnasium's own default, where an environment does not say.
            self._autoreset = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        elif self.is_vector:
            raise ValueError(f"one environment, but num_rows is {self.num_rows}")

    @torch.inference_mode()
    def reset(self, rows: Sequence[bool] | Bool[np.ndarray, " rows"] | None = None) -> None:
        """Forget everything, but for the prompt: a new episode begins in every marked row.

        Raises:
            ValueError: if there is not one mark for each running row.
        """
        if rows is None:
            self._running = list(range(self.num_rows))
            self._stream = self._start.select([0] * self.num_rows)
            self._timesteps = np.zeros(self.num_rows, np.int64)
            self._ending = np.zeros(self.num_rows, np.bool_)
            return
        marked = self._marks(rows)
        self._forget(marked)
        self._ending[marked] = False

    def end(self, over: Sequence[bool] | Bool[np.ndarray, " rows"]) -> None:
        """Tell which episodes the last step ended; call it after every step of a `VectorEnv`.

        Such environments reset themselves. Where they do so within that step the next observation
        is a new episode's. Otherwise (Gymnasium's default) it is the last of the old one, what the
        policy answers is not used, and the row begins anew with the observation after that. Where
        the caller resets (`AutoresetMode.DISABLED`), it begins anew with the next observation.
        """
        marked = self._marks(over)
        if self._autoreset == AutoresetMode.NEXT_STEP:
            self.reset(self._ending)
            self._ending = marked.copy()
        else:
            self.reset(marked)

    def select_action(self, observation: Any) -> Any:
        """The action that answers an observation; of several rows, both batched as in Gymnasium.

        Raises:
            ValueError: an observation that does not fit the task's spec, naming the leaf.
        """
        if not self.is_vector:
            return self.select_actions([observation])[0]
        values = flat_observation(self.spec, observation, task=self.task)
        leaves = self.spec.observation_leaves
        columns = self._select({p: self._column(p, leaves[p], v) for p, v in values.items()})
        return unflatten(self.spec.action, columns, "action")

    def select_actions(self, observations: Sequence[Any]) -> list[Any]:
        """One action for each running row's observation, in lists.

        Raises:
            ValueError: as `select_action`.
        """
        flat = [flat_observation(self.spec, one, task=self.task) for one in observations]
        columns = self._select(
            {
                path: self._column(path, leaf, [values[path] for values in flat])
                for path, leaf in self.spec.observation_leaves.items()
            }
        )
        leaves = self.spec.action_leaves
        return [
            unflatten(
                self.spec.action,
                {path: value_of_row(leaves[path], column, row) for path, column in columns.items()},
                "action",
            )
            for row in range(len(observations))
        ]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only: the other episodes are over."""
        self._running = [self._running[row] for row in rows]
        self._stream = self._stream.select(rows)
        self._timesteps, self._ending = self._timesteps[list(rows)], self._ending[list(rows)]

    def draw_from(self, row: int, seed: int) -> None:
        """Seed a running row: its episode then depends on nothing that is played beside it."""
        self._generators[self._running[row]].manual_seed(seed)

    @property
    def _drawing(self) -> list[torch.Generator]:
        """The generators of the running rows."""
        return [self._generators[row] for row in self._running]

    def _marks(self, rows: Sequence[bool] | np.ndarray) -> np.ndarray:
        marked = np.asarray(rows)
        if marked.shape != (len(self._running),) or marked.dtype != np.bool_:
            raise ValueError(
                f"rows must be {len(self._running)} times True or False, got {marked.dtype} of "
                f"shape {marked.shape}"
            )
        return marked

    @torch.inference_mode()
    def _select(
        self, observations: Mapping[str, np.ndarray]
    ) -> dict[str, Sequence[Any] | np.ndarray]:
        """Each action leaf's values, from each observation leaf's, (rows, *shape)."""
        tokens = self._encode(observations)
        if self._history is not None:
            self._forget(self._timesteps == self._history)
        self._timesteps += 1
        self._stream.prefill(tokens, tokens.timesteps)
        return {path: self._decode(leaf) for path, leaf in self.spec.action_leaves.items()}

    def _forget(self, marked: np.ndarray) -> None:
        """Back to the prompt in the marked rows, whose episodes may go on or be about to end."""
        if marked.any():
            self._stream.copy_rows_from(
                self._start, torch.from_numpy(marked).to(self._stream.device)
            )
            self._timesteps[marked] = 0

    def _column(self, path: str, leaf: Leaf, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """One leaf of all rows, (rows, *shape), checked."""
        if len(values) != len(self._running):
            raise ValueError(
                f"{len(values)} observations for {len(self._running)} running episodes"
            )
        return stack_rows(f"{self.task}: observation {path!r}", leaf, values)

    def _encode(self, observations: Mapping[str, np.ndarray]) -> TokenSequence:
        """The rows' observations as tokens, separators last; a row is a timestep here."""
        episode = Episode(observations=observations, actions={})
        encoded = encode(episode, self.spec, self.agent.tokenizer)
        context_length = self.agent.model.config.context_length
        check_fits(np.bincount(encoded.timesteps), context_length=context_length, name=self.task)
        return encoded

    def _decode(self, leaf: Leaf) -> Sequence[Any] | np.ndarray:
        """One leaf of the action for each row, element by element: texts, or (rows, *shape)."""
        tokenizer = self.agent.tokenizer
        if leaf.kind == "text":
            end = tokenizer.text.end_of_text
            texts = self._stream.decode_text(
                tokenizer.text_ids, end, self.sampling, self._drawing, max_tokens=MAX_TEXT_TOKENS
            )
            return tuple(tokenizer.decode(leaf, np.array(ids), is_action=True) for ids in texts)
        chosen = [
            self._stream.decode(tokenizer.legal_ids(leaf, i), self.sampling, self._drawing)
            for i in range(leaf.size)
        ]
        ids = torch.stack(chosen, dim=1).cpu().numpy()
        return tokenizer.decode(leaf_of_rows(leaf, len(ids)), ids.reshape(-1), is_action=True)


def flat_observation(spec: Spec, observation: Any, *, task: str) -> dict[str, Any]:
    """An observation's leaves by path.

    Raises:
        ValueError: if its structure is another than the task's.
    """
    try:
        return flatten(spec.observation, observation, "observation")
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{task}: the observation does not have the task's structure: {error!r}; "
            f"expected {sorted(spec.observation_leaves)}"
        ) from None
