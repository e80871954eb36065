"""mugato: one sequence model that plays, moves, looks, answers and writes.

The public names, each imported when it is first asked for: recording, for one, needs no PyTorch.
Nothing inside the package imports from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mugato.acting.policy import Policy
    from mugato.episode import Episode
    from mugato.model.config import GatoConfig
    from mugato.model.gato import Gato
    from mugato.spec import spec_of
    from mugato.tasks.task import Task
    from mugato.tokens.batch import Batch
    from mugato.tokens.packing import pack, pad
    from mugato.tokens.sequence import TokenSequence
    from mugato.tokens.timesteps import Timesteps
    from mugato.tokens.tokenizer import Tokenizer

_MODULES = {
    "Batch": "mugato.tokens.batch",
    "Episode": "mugato.episode",
    "Gato": "mugato.model.gato",
    "GatoConfig": "mugato.model.config",
    "Policy": "mugato.acting.policy",
    "Task": "mugato.tasks.task",
    "TokenSequence": "mugato.tokens.sequence",
    "Timesteps": "mugato.tokens.timesteps",
    "Tokenizer": "mugato.tokens.tokenizer",
    "pack": "mugato.tokens.packing",
    "pad": "mugato.tokens.packing",
    "spec_of": "mugato.spec",
}

__all__ = [
    "Batch",
    "Episode",
    "Gato",
    "GatoConfig",
    "Policy",
    "Task",
    "Timesteps",
    "TokenSequence",
    "Tokenizer",
    "pack",
    "pad",
    "spec_of",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mugato' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
