"""Documents, captioned pictures and answered questions, as episodes of one timestep (§2.1).

A document is an action without an observation. A picture is seen and its caption is the action; a
picture and a question are seen and the answer is the action.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mugato.data.pictures import Picture
from mugato.data.source import Source
from mugato.episode import Episode, text_leaf
from mugato.spec import TEXT_LEAF, Leaf, Spec

TEXT_SPEC = Spec(observation={}, action={"text": TEXT_LEAF})


def caption_spec(size_px: int) -> Spec:
    """Return the spec of captioned pictures of `size_px` pixels a side."""
    return Spec(observation={"image": _picture_leaf(size_px)}, action={"caption": TEXT_LEAF})


def question_spec(size_px: int) -> Spec:
    """Return the spec of questions about pictures of `size_px` pixels a side."""
    observation = {"image": _picture_leaf(size_px), "question": TEXT_LEAF}
    return Spec(observation=observation, action={"answer": TEXT_LEAF})


def document(text: str, *, name: str) -> Episode:
    """Make an episode of a text; `name` says where it comes from."""
    return Episode(observations={}, actions={"text": text_leaf(text)}, name=name)


def captioned(picture: Picture, caption: str, *, name: str) -> Episode:
    """Make an episode of a picture and its caption."""
    seen = {"image": picture[None]}
    return Episode(observations=seen, actions={"caption": text_leaf(caption)}, name=name)


def answered(picture: Picture, question: str, answer: str, *, name: str) -> Episode:
    """Make an episode of a question about a picture and its answer."""
    seen = {"image": picture[None], "question": text_leaf(question)}
    return Episode(observations=seen, actions={"answer": text_leaf(answer)}, name=name)


@dataclass(frozen=True, kw_only=True)
class LanguageSource(Source):
    """Items that are read as one episode each, of one timestep, when they are asked for.

    Attributes:
        items: places of texts and pictures, or whatever `read` takes.
        read: makes an episode of an item; it travels to other processes.
        remarks: what of the files is left out.
    """

    name: str
    spec: Spec
    items: Sequence[Any] = field(repr=False)
    read: Callable[[Any], Episode] = field(repr=False, compare=False)
    remarks: tuple[str, ...] = ()

    @property
    def lengths(self) -> np.ndarray:
        """One timestep each, which takes no memory and no reading."""
        return np.broadcast_to(np.int64(1), (len(self),))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Episode:
        return self.read(self.items[index])


def _picture_leaf(size_px: int) -> Leaf:
    return Leaf(kind="image", shape=(size_px, size_px, 3), dtype="uint8")
