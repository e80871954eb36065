"""What MultiNet's harness loads: our adapter as a subclass of its base class.

It runs inside a checkout of the benchmark, whose `src` package the first import is from. The
agent's folder lies beside this file, where the harness mounts it (`/models`).
"""

from pathlib import Path
from typing import ClassVar

from src.eval_harness.model_adapter import ModelAdapter  # pyright: ignore[reportMissingImports]

from mugato.multinet import MultiNetAdapter


class MugatoAdapter(MultiNetAdapter, ModelAdapter):  # ours first: its methods count
    """The agent in `agent/` beside this file."""

    agent_folder: ClassVar[str | Path] = Path(__file__).with_name("agent")
    # Data sets that the agent was trained on under another name, for instance
    # {"openx_single_arm": "lerobot:bridge"}. `multinet:FOLDER/NAME` is found without.
    agent_tasks: ClassVar[dict[str, str]] = {}
