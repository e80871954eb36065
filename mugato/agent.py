"""An agent on disk: weights, tokenizer, and what each of its tasks looks like.

`model.safetensors`, `tokenizer.model` and `config.json` are all that acting needs: no environment,
no data and no training code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mugato.model import serialization as files
from mugato.model.gato import Gato
from mugato.spec import Spec
from mugato.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A model that can be used.

    Attributes:
        specs: observation and action spec of each task and source that it was trained on.
    """

    model: Gato
    tokenizer: Tokenizer
    specs: Mapping[str, Spec]

    def spec(self, task: str) -> Spec:
        """Raises ValueError for a task that the agent was not trained on."""
        if task not in self.specs:
            raise ValueError(f"the agent knows no task {task!r}, only {sorted(self.specs)}")
        return self.specs[task]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the agent; each file is written whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = self.tokenizer.save(folder)
        specs = {name: spec.to_json() for name, spec in self.specs.items()}
        self.model.save_pretrained(folder, extra={"tokenizer": tokenizer, "specs": specs})

    @staticmethod
    def from_pretrained(folder: str | Path, *, device: torch.device | str = "cpu") -> "Agent":
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: if the folder holds no agent, or a corrupt or foreign one.
        """
        folder = Path(folder)
        tokenizer, specs = read_tokenizer_and_specs(folder)
        model = Gato.from_pretrained(folder, device=device)
        return Agent(model=model, tokenizer=tokenizer, specs=specs)


def read_tokenizer_and_specs(folder: Path) -> tuple[Tokenizer, dict[str, Spec]]:
    """What `Agent.save_pretrained` wrote, but for the model.

    Raises:
        ValueError: as `Agent.from_pretrained`.
    """
    config = files.read_config(folder)
    if missing := sorted({"tokenizer", "specs"} - set(config)):
        raise ValueError(f"{folder} holds a model but no agent: its config has no {missing}")
    specs = {name: Spec.from_json(spec) for name, spec in config["specs"].items()}
    return Tokenizer.load(folder, config["tokenizer"]), specs
