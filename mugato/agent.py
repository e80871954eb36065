"""An agent on disk: weights, tokenizer, and what each of its tasks looks like.

`model.safetensors`, the text tokenizer and `config.json` are all that acting needs: no environment,
no data and no training code.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from mugato.model import serialization as files
from mugato.model.gato import Gato
from mugato.spec import Spec
from mugato.spec_json import spec_from_json, spec_to_json
from mugato.system.errors import known_names
from mugato.system.typed_json import from_json, within
from mugato.tokens.tokenizer import Tokenizer

# Agents that come with the package, by name.
SHIPPED = Path(__file__).with_name("agents")
# Logits divided by less may overflow.
VANISHING = 1e-6


Continuous = Literal["sample", "mean", "median"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How ids are chosen: by default as often as the agent was taught to (§2.5).

    Attributes:
        temperature: logits are divided by it; 0, or next to it, takes the likeliest id. Of a
            continuous action the likeliest bin is a poor choice: neighboring bins share their
            probability, and the bin at the bound, which has many values to itself, wins.
        top_p: sample among the likeliest ids that together hold this much probability.
        continuous: what is taken of a continuous action's distribution: a sample, as in the paper,
            its mean, or its median, which stray less from an expert that has one way to act.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    continuous: Continuous = "sample"

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be a number from 0 on, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.continuous not in (ways := get_args(Continuous)):
            raise ValueError(f"continuous must be one of {ways}, got {self.continuous!r}")


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class AgentTask:
    """A task or source as an agent was trained on it.

    Attributes:
        spec: what it shows and what it takes.
        history: the agent forgets everything after each so many timesteps, as it was trained or as
            `mugato tune` found best; None lets it see as far back as its context reaches. Where
            the observation tells all, an agent that sees its own past actions learns to copy them.
        sampling: how its actions are chosen, unless it is told otherwise.
    """

    spec: Spec
    history: int | None = None
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        if self.history is not None and self.history < 1:
            raise ValueError(f"history must be at least 1 timestep, got {self.history}")

    def to_json(self) -> dict:
        return {
            "spec": spec_to_json(self.spec),
            "history": self.history,
            "sampling": dataclasses.asdict(self.sampling),
        }

    @staticmethod
    def from_json(data: Any, where: str = "task") -> "AgentTask":
        """Read what `to_json` gave; raises ValueError, naming `where`, for anything else."""
        task = from_json(dict[str, Any], data, where)
        spec = spec_from_json(task.get("spec"), within(where, "spec"))
        history = from_json(int | None, task.get("history"), within(where, "history"))
        chosen = task.get("sampling", {})  # agents of earlier versions have none
        sampling = from_json(Sampling, chosen, within(where, "sampling"))
        try:
            return AgentTask(spec=spec, history=history, sampling=sampling)
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

    def __post_init__(self) -> None:
        image, sizes = self.tokenizer.image, self.model.config
        if (image.patch_px, image.num_levels) != (sizes.patch_px, sizes.patch_levels):
            raise ValueError(
                f"the tokenizer cuts patches of {image.patch_px} pixels, placed in "
                f"{image.num_levels} levels, but the model has patch_px {sizes.patch_px} and "
                f"patch_levels {sizes.patch_levels}"
            )

    def task(self, name: str) -> AgentTask:
        """Look up what the agent was trained on.

        Raises:
            ValueError: for a task that the agent does not know, listing those it does.
        """
        if name not in self.tasks:
            hint = known_names(name, self.tasks)
            raise ValueError(f"the agent knows no task {name!r}{hint}")
        return self.tasks[name]

    def spec(self, task: str) -> Spec:
        """Return the spec of a task; raises as `task`."""
        return self.task(task).spec

    def history(self, task: str) -> int | None:
        """Return after how many timesteps of a task the agent forgets; raises as `task`."""
        return self.task(task).history

    def save_pretrained(
        self, folder: str | Path, *, precision: Literal["fp32", "bf16"] = "fp32"
    ) -> None:
        """Write the agent; each file is written whole or not at all.

        Args:
            precision: bf16 takes half the space.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.model
        if precision == "bf16":
            model = copy.deepcopy(model).bfloat16()
        model.save_pretrained(folder, extra=self._described(self.tokenizer.save(folder)))

    def save_tasks(self, folder: str | Path) -> None:
        """Write what the agent in a folder knows of its tasks anew; its weights stay untouched.

        Raises:
            ValueError: as `from_pretrained`, or an agent that knows other tasks.
        """
        folder = Path(folder)
        _, saved = read_tokenizer_and_tasks(folder)
        if list(saved) != list(self.tasks):
            raise ValueError(f"the agent in {folder} knows {list(saved)}, not {list(self.tasks)}")
        config = files.read_config(folder)
        files.write_config(folder, {**config, **self._described(config["tokenizer"])})

    def _described(self, tokenizer: Any) -> dict[str, Any]:
        tasks = {name: task.to_json() for name, task in self.tasks.items()}
        return {"tokenizer": tokenizer, "tasks": tasks}

    @staticmethod
    def from_pretrained(folder: str | Path, *, device: torch.device | str = "cpu") -> "Agent":
        """Read what `save_pretrained` wrote, or an agent that comes with the package by its name.

        Raises:
            ValueError: if the folder holds no agent, or a corrupt or foreign one.
        """
        folder = agent_folder(folder)
        tokenizer, tasks = read_tokenizer_and_tasks(folder)
        model = Gato.from_pretrained(folder, device=device)
        return Agent(model=model, tokenizer=tokenizer, tasks=tasks)


def shipped_agent(name: str | Path) -> Path | None:
    """Return where an agent lies that comes with the package; None where a folder is meant."""
    folder = SHIPPED / name
    is_name = len(Path(name).parts) == 1 and not Path(name).exists()
    return folder if is_name and (folder / files.CONFIG).exists() else None


def agent_folder(name: str | Path) -> Path:
    """Return where an agent lies: in a folder, or in the package if it is the name of one there.

    Raises:
        ValueError: if there is no such folder, naming those that come with the package.
    """
    folder = shipped_agent(name) or Path(name)
    if not folder.exists():
        names = ", ".join(shipped_agents())
        raise ValueError(
            f"there is no agent in {folder}, for there is no such folder; train one "
            f"(`mugato demo`), or name one that comes with mugato: {names}"
        )
    return folder


def shipped_agents() -> list[str]:
    """List the agents that come with the package."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{files.CONFIG}"))


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
