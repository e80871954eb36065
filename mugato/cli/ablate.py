"""`mugato ablate`: what a prompt is worth."""

from pathlib import Path
from typing import Annotated

import tyro

from mugato.cli import display
from mugato.cli.evaluate import typed_command


def ablate(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    tasks: tuple[str, ...] | None = None,
    episodes: int = 20,
    workers: int = 2,
    device: str = "auto",
) -> None:
    """Score an agent without a prompt, with the right demonstration and with a wrong one.

    Writes ablation.json and ablation.md into the run's folder.

    Args:
        run: folder of the run, or the name of an agent that comes with the package.
        tasks: only these; all that the agent was trained on if not given.
        episodes: per task and condition, on seeds from 3,000,000 that no demonstration uses.
        workers: processes.
        device: "auto" (a CUDA GPU, else the processor), "cpu", "cuda", "cuda:1" or "mps".
    """
    from mugato.cli.at_hand import at_hand
    from mugato.evaluation.ablation import ablate as ablate_run
    from mugato.evaluation.config import EvaluationConfig
    from mugato.reports.render import ABLATION, ablation_markdown, write_text

    run = at_hand(run)
    config = EvaluationConfig(tasks=tasks, episodes=episodes, workers=workers, device=device)
    with display.progress("ablating") as show:
        found = ablate_run(run, config, on_progress=show, command=typed_command())
    text = ablation_markdown(found)
    write_text(run / ABLATION, text)
    display.console.print(text, markup=False, highlight=False, soft_wrap=True)
