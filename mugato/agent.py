"""An agent on disk: weights, tokenizer, and what each of its tasks looks like.

`model.safetensors`, `tokenizer.model` and `config.json` are all that acting needs: no environment,
no data and no training code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mugato.model import serialization as files
from mugato.model.gato import Gato
from mugato.spec import Spec
from mugato.system.errors import did_you_mean
from mugato.system.typed_json import from_json, within
from mugato.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class AgentTask:
    """A task or source as an agent was trained on it.

    Attributes:
        spec: what it shows and what it takes.
        history: the agent forgets everything after each so many timesteps, in training and in
            acting; None lets it see as far back as its context reaches. Where the observation tells
            all, an agent that sees its own past actions learns to copy them instead.
    """

    spec: Spec
    history: int | None = None

    def __post_init__(self) -> None:
        if self.history is not None and self.history < 1:
            raise ValueError(f"history must be at least 1 timestep, got {self.history}")

    def to_json(self) -> dict:
        return {"spec": self.spec.to_json(), "history": self.history}

    @staticmethod
    def from_json(data: Any, where: str = "task") -> "AgentTask":
        """Read what `to_json` gave; raises ValueError, naming `where`, for anything else."""
        task = from_json(dict[str, Any], data, where)
        spec = Spec.from_json(task.get("spec"), within(where, "spec"))
        history = from_json(int | None, task.get("history"), within(where, "history"))
        try:
            return AgentTask(spec=spec, history=history)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A model that can be used.

    Attributes:
        tasks: what each task and source that it was trained on looks like, by name.
    """

    model: Gato
    tokenizer: Tokenizer
    tasks: Mapping[str, AgentTask]

    def task(self, name: str) -> AgentTask:
        """Look up what the agent was trained on.

        Raises:
            ValueError: for a task that the agent does not know, listing those it does.
        """
        if name not in self.tasks:
            hint = did_you_mean(name, self.tasks) or f", only {sorted(self.tasks)}"
            raise ValueError(f"the agent knows no task {name!r}{hint}")
        return self.tasks[name]

    def spec(self, task: str) -> Spec:
        """Return the spec of a task; raises as `task`."""
        return self.task(task).spec

    def history(self, task: str) -> int | None:
        """Return after how many timesteps of a task the agent forgets; raises as `task`."""
        return self.task(task).history

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the agent; each file is written whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = self.tokenizer.save(folder)
        tasks = {name: task.to_json() for name, task in self.tasks.items()}
        self.model.save_pretrained(folder, extra={"tokenizer": tokenizer, "tasks": tasks})

    @staticmethod
    def from_pretrained(folder: str | Path, *, device: torch.device | str = "cpu") -> "Agent":
        """Read what `save_pretrained` wrote.

        Raises:
            ValueError: if the folder holds no agent, or a corrupt or foreign one.
        """
        folder = Path(folder)
        tokenizer, tasks = read_tokenizer_and_tasks(folder)
        model = Gato.from_pretrained(folder, device=device)
        return Agent(model=model, tokenizer=tokenizer, tasks=tasks)


def read_tokenizer_and_tasks(folder: Path) -> tuple[Tokenizer, dict[str, AgentTask]]:
    """Read what `Agent.save_pretrained` wrote, except for the model.

    Raises:
        ValueError: as `Agent.from_pretrained`.
    """
    config = files.read_config(folder)
    if missing := sorted({"tokenizer", "tasks"} - set(config)):
        raise ValueError(f"{folder} holds a model but no agent: its config has no {missing}")
    path = folder / files.CONFIG
    tasks = {
        name: AgentTask.from_json(task, f"{path}: tasks.{name}")
        for name, task in from_json(dict[str, Any], config["tasks"], f"{path}: tasks").items()
    }
    where = f"{path}: tokenizer"
    tokenizer = Tokenizer.load(folder, from_json(dict[str, Any], config["tokenizer"], where), where)
    return tokenizer, tasks
