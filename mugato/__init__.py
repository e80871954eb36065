"""mugato: one sequence model that plays, moves, looks, answers and writes.

The public names; nothing inside the package imports from here.
"""

from mugato.batch import Batch, pack, pad
from mugato.episode import Episode
from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.policy import Policy
from mugato.sequence import TokenSequence
from mugato.spec import spec_of
from mugato.tasks.task import Task
from mugato.timesteps import Timesteps
from mugato.tokenizers.tokenizer import Tokenizer

__all__ = [
    "Batch",
    "Episode",
    "Gato",
    "GatoConfig",
    "Policy",
    "Task",
    "TokenSequence",
    "Timesteps",
    "Tokenizer",
    "pack",
    "pad",
    "spec_of",
]
