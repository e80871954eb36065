"""mugato: one sequence model that plays, moves, looks, answers and writes.

`record` demonstrations, `train` an agent, `evaluate` it, `compare` two, and act with a `Policy`.
The public names are imported when they are first asked for: recording, for one, needs no PyTorch.
Nothing inside the package imports from here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mugato.acting.batch_policy import BatchPolicy, InferenceConfig
    from mugato.acting.policy import Policy, VectorPolicy
    from mugato.agent import Agent, AgentTask, Sampling
    from mugato.corrections.rounds import train
    from mugato.data.config import DatasetConfig
    from mugato.episode import Episode
    from mugato.evaluation.comparison import Comparison, compare
    from mugato.evaluation.config import EvaluationConfig
    from mugato.evaluation.evaluate import evaluate
    from mugato.evaluation.finetuning import FinetuneConfig, finetune
    from mugato.evaluation.results import EvaluationResults
    from mugato.evaluation.tuning import TuningConfig, tune
    from mugato.model.config import GatoConfig
    from mugato.model.gato import Gato
    from mugato.recording.recorder import RecordConfig, record
    from mugato.reports.render import write_report
    from mugato.spec import Spec, spec_of
    from mugato.tasks.gymnasium_task import gymnasium_task
    from mugato.tasks.registry import get_task
    from mugato.tasks.task import Task
    from mugato.tokens.batch import Batch, ModelInput
    from mugato.tokens.packing import pack, pad
    from mugato.tokens.padded import collate
    from mugato.tokens.sequence import TokenSequence
    from mugato.tokens.timesteps import Timesteps
    from mugato.tokens.tokenizer import Tokenizer
    from mugato.training.config import TokenizerConfig, TrainConfig
    from mugato.training.optimizer import OptimizerConfig

_NAMES = {
    "acting.batch_policy": ("BatchPolicy", "InferenceConfig"),
    "acting.policy": ("Policy", "VectorPolicy"),
    "agent": ("Agent", "AgentTask", "Sampling"),
    "corrections.rounds": ("train",),
    "data.config": ("DatasetConfig",),
    "episode": ("Episode",),
    "evaluation.comparison": ("Comparison", "compare"),
    "evaluation.config": ("EvaluationConfig",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.finetuning": ("FinetuneConfig", "finetune"),
    "evaluation.results": ("EvaluationResults",),
    "evaluation.tuning": ("TuningConfig", "tune"),
    "model.config": ("GatoConfig",),
    "model.gato": ("Gato",),
    "recording.recorder": ("RecordConfig", "record"),
    "reports.render": ("write_report",),
    "spec": ("Spec", "spec_of"),
    "tasks.gymnasium_task": ("gymnasium_task",),
    "tasks.registry": ("get_task",),
    "tasks.task": ("Task",),
    "tokens.batch": ("Batch", "ModelInput"),
    "tokens.packing": ("pack", "pad"),
    "tokens.padded": ("collate",),
    "tokens.sequence": ("TokenSequence",),
    "tokens.timesteps": ("Timesteps",),
    "tokens.tokenizer": ("Tokenizer",),
    "training.config": ("TokenizerConfig", "TrainConfig"),
    "training.optimizer": ("OptimizerConfig",),
}
_MODULES = {name: f"mugato.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "Agent",
    "AgentTask",
    "Batch",
    "BatchPolicy",
    "Comparison",
    "DatasetConfig",
    "Episode",
    "EvaluationConfig",
    "EvaluationResults",
    "FinetuneConfig",
    "Gato",
    "GatoConfig",
    "InferenceConfig",
    "ModelInput",
    "OptimizerConfig",
    "Policy",
    "RecordConfig",
    "Sampling",
    "Spec",
    "Task",
    "Timesteps",
    "TokenSequence",
    "Tokenizer",
    "TokenizerConfig",
    "TrainConfig",
    "TuningConfig",
    "VectorPolicy",
    "collate",
    "compare",
    "evaluate",
    "finetune",
    "get_task",
    "gymnasium_task",
    "pack",
    "pad",
    "record",
    "spec_of",
    "train",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mugato' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
