"""How much a source holds: episodes, timesteps, tokens, bytes."""

from dataclasses import dataclass

import numpy as np

from mugato.data.source import Source
from mugato.episode import Episode
from mugato.spec import Leaf, Spec
from mugato.tokens.images import image_size, num_pictures
from mugato.tokens.tokenizer import Tokenizer

# Texts differ in length: those of so many episodes stand for all, where there are more.
NUM_PROBES = 64


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of a source.

    Attributes:
        tokens: as in training, separators and ends of text included.
        num_bytes: of the values as they are read: pixels, numbers, UTF-8.
        exact: whether tokens and bytes were counted; otherwise texts were estimated from probes.
    """

    episodes: int
    timesteps: int
    tokens: int
    num_bytes: int
    exact: bool


def summarize(source: Source, tokenizer: Tokenizer) -> Summary:
    """Count; of sources with texts beside other observations only some episodes are read."""
    spec = source.spec
    leaves = [leaf for _, _, leaf in spec.leaves()]
    has_text = any(leaf.kind == "text" for leaf in leaves)
    lengths = source.lengths  # without them every episode is read anyway
    all_read = lengths is None or not spec.observation_leaves or len(source) <= NUM_PROBES
    picked = range(len(source)) if all_read else _probes(len(source))
    read, text_tokens, text_bytes = 0, 0, 0
    for i in picked if has_text or lengths is None else ():
        episode = source[i]
        read += len(episode)
        tokens, size = _texts(episode, spec, tokenizer)
        text_tokens, text_bytes = text_tokens + tokens, text_bytes + size
    timesteps = read if lengths is None else sum(lengths)
    share = timesteps / read if read else 0.0
    per_timestep = sum(tokenizer.num_tokens(leaf) or 0 for leaf in leaves)
    per_timestep += 1 if spec.observation_leaves else 0  # the separator
    return Summary(
        episodes=len(source),
        timesteps=timesteps,
        tokens=timesteps * per_timestep + round(text_tokens * share),
        num_bytes=timesteps * sum(map(_leaf_bytes, leaves)) + round(text_bytes * share),
        exact=all_read or not has_text,
    )


def describe(spec: Spec) -> str:
    """Describe a spec in one line.

    >>> from gymnasium import spaces
    >>> from mugato.spec import spec_of
    >>> seen = spaces.Dict(camera=spaces.Box(0, 255, (64, 80, 3), np.uint8), mission=spaces.Text(9))
    >>> describe(spec_of(seen, spaces.Discrete(7)))
    'mission: text, camera: image 64×80 → action: 7 discrete'
    """
    return " → ".join(
        ", ".join(f"{path}: {describe_leaf(leaf)}" for path, leaf in leaves.items())
        for leaves in (spec.observation_leaves, spec.action_leaves)
        if leaves
    )


def describe_leaf(leaf: Leaf) -> str:
    """Say what a leaf holds, in a few words.

    >>> describe_leaf(Leaf(kind="continuous", shape=(4,)))
    '4 continuous'
    """
    match leaf.kind:
        case "text":
            return "text"
        case "image":
            height, width = image_size(leaf)
            times = f"{num_pictures(leaf)} × " if num_pictures(leaf) > 1 else ""
            return f"{times}image {height}×{width}"
        case "discrete":
            counts = sorted({int(n) + 1 for n in np.subtract(leaf.high, leaf.low)})
            times = f"{leaf.size} × " if leaf.shape else ""
            return f"{times}{'/'.join(map(str, counts))} discrete"
    return f"{leaf.size} continuous"


def _probes(num_episodes: int) -> list[int]:
    """Pick some runs of neighbors, which many sources read together."""
    runs = 8
    starts = np.linspace(0, num_episodes - NUM_PROBES // runs, runs).astype(int)
    return [int(start) + i for start in starts for i in range(NUM_PROBES // runs)]


def _texts(episode: Episode, spec: Spec, tokenizer: Tokenizer) -> tuple[int, int]:
    """Count tokens and bytes of an episode's texts."""
    num_tokens = num_bytes = 0
    for role, path, leaf in spec.leaves():
        for text in episode.values(role)[path] if leaf.kind == "text" else ():
            num_tokens += len(tokenizer.text.encode(text)) + (role == "action")  # its end
            num_bytes += len(text.encode())
    return num_tokens, num_bytes


def _leaf_bytes(leaf: Leaf) -> int:
    return 0 if leaf.kind == "text" else leaf.size * np.dtype(leaf.dtype).itemsize
