"""What every sequence model promises, so that any of them can stand in Gato.

One call trains, prefills and steps. The model remembers nothing: its state is handed in and handed
back, and whoever acts owns it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class State(Protocol):
    """What a sequence model carries between calls: rows of running sequences."""

    def select(self, rows: Int[Tensor, " rows"]) -> "State":
        """Copy some rows, in that order; a row may be asked for more than once."""
        ...

    def reset(self, rows: Bool[Tensor, " B"]) -> "State":
        """Empty the marked rows; the others are untouched. The state given is used up."""
        ...

    def copy_rows_from(self, other: "State", rows: Bool[Tensor, " B"]) -> "State":
        """Make each marked row a copy of the only row of `other`.

        The state is used up, `other` is not; both come from `init_state` of the same `max_length`.
        """
        ...


class SequenceModel(nn.Module):
    """Vectors in, vectors out, each seeing its own segment's past.

    What holds for all of them as far as the context reaches (`tests/model/test_sequence_models`):
    reading token by token gives what one pass over the whole gives; the future changes nothing in
    the past; a segment packed among others gives what it gives alone; a gradient reaches every
    parameter.

    Attributes:
        checkpoint_activations: compute a block's activations again in the backward pass instead of
            keeping them: a third more time, a fraction of the memory.
        acts_in_bf16: whether `precision.py` knows how to make that copy; otherwise it acts in fp32.
        inference_copy: a copy whose weights are stored to act with, and what marked the weights
            when it was made; see `precision.py`.
    """

    checkpoint_activations: bool = False
    acts_in_bf16: bool = False
    inference_copy: tuple[Any, "SequenceModel"] | None = None

    def run(self, block: Callable[..., Any], *inputs: Any) -> Any:
        """Call a block, with its activations kept or computed again."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def init_state(self, batch_size: int, max_length: int) -> Any:
        """Make an empty `State` for rows that will be read from their first token.

        `max_length` bounds the tokens kept of each row. To see the whole context at every token it
        must be at least the context's length plus the number of tokens read at once.
        """
        raise NotImplementedError

    def forward(
        self,
        x: Float[Tensor, "B L width"],
        positions: Int[Tensor, "B L"],
        segments: Int[Tensor, "B L"],
        state: Any = None,
    ) -> tuple[Float[Tensor, "B L width"], Any]:
        """Read tokens at `positions` of their segments; segment 0 is padding.

        A segment begins at position 0 and its tokens lie in order. Without a state the rows are
        whole. With one, each row goes on with one running sequence; the state given is used up.
        """
        raise NotImplementedError
