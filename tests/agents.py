"""Small real agents and episodes for tests."""

from functools import cache

import numpy as np
import torch
from gymnasium import spaces

from mugato.agent import Agent, AgentTask
from mugato.episode import Episode
from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.spec import Spec, flatten, spec_of
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer
from mugato.tokens.vocab import Vocab

TEXTS = [f"go to the {c} {s}" for c in ("red", "blue", "green") for s in ("ball", "key", "box")]


@cache
def tiny_tokenizer(max_patches: int | None = None) -> Tokenizer:
    text = TextTokenizer.train(TEXTS * 20, num_pieces=300)
    image = ImageTokenizer(max_patches=max_patches)
    return Tokenizer(text=text, vocab=Vocab(num_text=text.num_pieces), image=image)


def tiny_config(vocab: Vocab, **changes: object) -> GatoConfig:
    sizes = {
        "width": 32, "num_layers": 2, "num_heads": 2, "head_size": 16, "hidden_size": 64,
        "context_length": 64, "patch_width": 32, "dropout": 0.0, "stochastic_depth": 0.0,
    }  # fmt: skip
    return GatoConfig(vocab=vocab, **{**sizes, **changes})


def tiny_agent(
    specs: dict[str, Spec], *, seed: int = 0, history: int | None = None, **changes: object
) -> Agent:
    tokenizer = tiny_tokenizer()
    tasks = {name: AgentTask(spec=spec, history=history) for name, spec in specs.items()}
    torch.manual_seed(seed)
    model = Gato(tiny_config(tokenizer.vocab, **changes)).eval()
    return Agent(model=model, tokenizer=tokenizer, tasks=tasks)


def random_episode(
    observation_space: spaces.Space, action_space: spaces.Space, timesteps: int, seed: int = 0
) -> tuple[Episode, Spec]:
    """Return an episode of sampled values, and its spec."""
    observation_space.seed(seed)
    action_space.seed(seed)
    spec = spec_of(observation_space, action_space)
    parts = []
    for space, tree, root in (
        (observation_space, spec.observation, "observation"),
        (action_space, spec.action, "action"),
    ):
        values = [flatten(tree, space.sample(), root) for _ in range(timesteps)]
        parts.append({path: _stack([v[path] for v in values]) for path in values[0]})
    episode = Episode(
        observations=parts[0], actions=parts[1], rewards=np.ones(timesteps, np.float32)
    )
    return episode, spec


def _stack(values: list) -> np.ndarray:
    return np.array(values, dtype=object if isinstance(values[0], str) else None)
