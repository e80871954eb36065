"""From a source's episodes and documents to token sequences that fit the context (§2.1, §2.3).

A long episode gives a random run of whole timesteps; a document a random run of tokens. What to
take is chosen first, with the generator given, and costs little; it is encoded when it has found
its place in a batch. The same generator gives the same.

What grows with the data set: 8 bytes an episode for the windows that it has, 1 for whether it was
checked, and what the source itself keeps. Nothing is read at the start but lengths and a few
episodes, where the source knows its lengths (`lengths`); where it does not, and for documents, each
is read once.
"""

from mugato.data.checked_source import CheckedSource
from mugato.data.episode_windows import EpisodeWindows
from mugato.data.source import Source
from mugato.data.text_windows import TextWindows
from mugato.data.window import Windows
from mugato.tokens.tokenizer import Tokenizer


def windows_of(
    source: Source,
    tokenizer: Tokenizer,
    *,
    context_length: int,
    number: int,
    prompt_share: float = 0.0,
    history: int | None = None,
) -> Windows:
    """The kind of windows that suits a source: plain text has no observation to keep whole.

    Args:
        number: of the source within the mixture.
        prompt_share: how many of the windows of episodes begin with a prompt.
        history: timesteps after which the agent forgets everything; None where it sees all.
    """
    checked = CheckedSource(source=source)
    if source.spec.observation_leaves:
        return EpisodeWindows(
            checked, tokenizer, context_length=context_length, number=number,
            prompt_share=prompt_share, history=history,
        )  # fmt: skip
    return TextWindows(checked, tokenizer, context_length=context_length, number=number)
