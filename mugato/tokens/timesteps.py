"""Tokenised timesteps in one shape for every modality: (timesteps, tokens, channels).

Ids have 1 channel, image patches patch_px² · 3 (768). A document is one timestep long. Nothing is
ordered or flattened yet: see `sequence.py`. µGATO, a small Gato that this project grew from, calls
the first axis *episodes*.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.tokens.images import image_size, num_pictures
from mugato.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenizedLeaf:
    """One leaf of an episode.

    Attributes:
        kind: text, image, discrete or continuous.
        tokens: (timesteps, tokens, channels): ids, or uint8 patches.
        lengths: (timesteps,): how many tokens are real; the rest is padding (text only).
        intervals: (tokens, 4): row and column interval of each patch; None for ids.
    """

    kind: str
    tokens: np.ndarray
    lengths: Int[np.ndarray, " timesteps"]
    intervals: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Timesteps:
    """An episode's leaves, tokenised, in the paper's order; no `actions` if it is yet to act.

    Attributes:
        executed: what was executed in the place of the actions; empty where it was these.
    """

    observations: Mapping[str, TokenizedLeaf]
    actions: Mapping[str, TokenizedLeaf]
    executed: Mapping[str, TokenizedLeaf] = field(default_factory=dict)

    def __len__(self) -> int:
        leaves = [*self.actions.values(), *self.observations.values()]
        return max(len(leaf.tokens) for leaf in leaves)

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Every leaf's (timesteps, tokens, channels) by name, as in µGATO."""
        leaves = {**self.observations, **self.actions}
        return {name: leaf.tokens for name, leaf in leaves.items()}


def tokenize(episode: Episode, spec: Spec, tokenizer: Tokenizer) -> Timesteps:
    """Tokenise an episode, leaf by leaf. An episode without actions is an observation to act on."""
    actions = spec.action_leaves
    return Timesteps(
        observations={
            path: _tokenize_leaf(leaf, episode.observations[path], tokenizer, is_action=False)
            for path, leaf in spec.observation_leaves.items()
        },
        actions=_tokenize_actions(actions, episode.actions, tokenizer),
        executed=_tokenize_actions(actions, episode.executed or {}, tokenizer),
    )


def text_timesteps(ids: Int[np.ndarray, " tokens"] | list[int]) -> Timesteps:
    """Make plain text one timestep without observation: (1, tokens, 1)."""
    tokens = np.asarray(ids, np.int32).reshape(1, -1, 1)
    leaf = TokenizedLeaf(kind="text", tokens=tokens, lengths=np.array([tokens.shape[1]]))
    return Timesteps(observations={}, actions={"text": leaf})


def _tokenize_actions(
    leaves: Mapping[str, Leaf], values: Mapping[str, np.ndarray], tokenizer: Tokenizer
) -> dict[str, TokenizedLeaf]:
    return {
        path: _tokenize_leaf(leaf, values[path], tokenizer, is_action=True)
        for path, leaf in leaves.items()
        if path in values
    }


def _tokenize_leaf(
    leaf: Leaf, values: np.ndarray, tokenizer: Tokenizer, *, is_action: bool
) -> TokenizedLeaf:
    tokens, lengths = tokenizer.encode(leaf, values, is_action=is_action)
    intervals = None
    if leaf.kind == "image":
        intervals = np.tile(tokenizer.image.intervals(image_size(leaf)), (num_pictures(leaf), 1))
    return TokenizedLeaf(kind=leaf.kind, tokens=tokens, lengths=lengths, intervals=intervals)
