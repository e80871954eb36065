"""How many tokens a data set of demonstrations makes, without making them."""

from functools import lru_cache

from mugato.data.minari_source import MinariSource
from mugato.tokenizers.tokenizer import Tokenizer


def count_tokens(source: MinariSource, tokenizer: Tokenizer) -> int:
    """Count every timestep's leaves and separator; episodes are only read where there is text."""
    observed, acted = source.spec.observation_leaves, source.spec.action_leaves
    per_timestep = 1 if observed else 0
    for leaf in (*observed.values(), *acted.values()):
        per_timestep += tokenizer.num_tokens(leaf) or 0
    total = per_timestep * sum(source.lengths)
    seen = [path for path, leaf in observed.items() if leaf.kind == "text"]
    said = [path for path, leaf in acted.items() if leaf.kind == "text"]

    @lru_cache(maxsize=4096)  # a mission repeats at every timestep
    def num_pieces(text: str) -> int:
        return len(tokenizer.text.encode(text))

    for i in range(len(source)) if seen or said else ():
        episode = source[i]
        total += sum(num_pieces(str(x)) for path in seen for x in episode.observations[path])
        # A text that is an action is closed by the end-of-text id.
        total += sum(num_pieces(str(x)) + 1 for path in said for x in episode.actions[path])
    return total
