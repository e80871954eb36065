"""`mugato multinet-v2`: an agent in the mazes of MultiNet v2.0."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from mugato.acting.batch_policy import InferenceConfig
from mugato.cli import display
from mugato.cli.sampling_flags import SamplingFlags
from mugato.system.files import write_text_whole

if TYPE_CHECKING:
    from mugato.evaluation.multinet_v2 import MultiNetV2Agent

PATIENCE_S = 600.0
RESULTS, HARNESS_RESULTS = "multinet_v2.json", "multinet_v2_harness.json"


def multinet_v2(
    run: Annotated[Path, tyro.conf.Positional],
    tasks: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    *,
    repo: Path | None = None,
    work_dir: Path | None = None,
    seed: int = 0,
    flags: Annotated[SamplingFlags, tyro.conf.arg(name="")] = SamplingFlags(),
    device: str = "cpu",
) -> None:
    """Let an agent play the mazes of MultiNet v2.0, here or in its own harness.

    Args:
        run: folder of the run, or the name of an agent that comes with the package.
        tasks: task files (.json) for our own world, or folders of them; one folder for a repo.
        repo: a checkout of MultiNet-v2.0, whose harness plays and writes its own results.
        work_dir: answer the requests in the `--work-dir` of `run_eval.py --model file_based`, until
            nothing was asked for ten minutes.
        seed: of the sampling.
        flags: how actions are chosen.
        device: where the agent computes: cpu, cuda, cuda:1, mps or auto.
    """
    from mugato.cli.at_hand import at_hand
    from mugato.evaluation.multinet_v2 import MultiNetV2Agent

    if work_dir is not None and (tasks or repo):
        raise ValueError(
            "with --work-dir the benchmark says what is played: name no tasks, no repo"
        )
    run = at_hand(run)
    inference = InferenceConfig(sampling=flags.sampling(), seed=seed, device=device)
    if repo is not None:
        _play_in_harness(run, repo, tasks, inference)
        return
    agent = MultiNetV2Agent(run, inference=inference)
    if work_dir is not None:
        _serve(agent, work_dir)
    else:
        _play(agent, tasks, run / RESULTS)


def _play_in_harness(
    run: Path, repo: Path, tasks: tuple[Path, ...], inference: InferenceConfig
) -> None:
    from mugato.evaluation.multinet_v2 import harness_agent, run_harness

    if len(tasks) != 1:
        raise ValueError("--repo takes one folder of tasks, for instance mazes/validation_10")
    out = run / HARNESS_RESULTS
    run_harness(harness_agent(repo, run, inference=inference), repo, tasks[0], out)
    display.console.print(f"The benchmark's own results are in [bold]{out}[/bold]")


def _serve(agent: "MultiNetV2Agent", work_dir: Path) -> None:
    from mugato.evaluation.multinet_v2 import serve_files

    for step in serve_files(agent, work_dir, patience_s=PATIENCE_S):
        display.progress_console.print(f"answered step {step}")


def _play(agent: "MultiNetV2Agent", tasks: tuple[Path, ...], out: Path) -> None:
    """Play files, show how it went, and keep that."""
    from mugato.evaluation.multinet_v2 import play_files

    paths = [
        p for task in tasks for p in (sorted(task.glob("*.json")) if task.is_dir() else [task])
    ]
    if not paths:
        raise ValueError("name task files of MultiNet v2.0, or folders that hold some")
    results = []
    with display.progress("playing") as show:
        for result in play_files(agent, paths):
            results.append(result)
            show(result.name, len(results), len(paths))
    table = Table("maze", "", "steps", "shortest", "reward", box=None)
    for one in results:
        won = "[green]reached[/green]" if one.success else "[red]not reached[/red]"
        table.add_row(
            escape(" ".join(one.name.split())),
            won,
            str(one.steps),
            str(one.shortest or "?"),
            f"{one.reward:.3f}",
        )
    display.console.print(table)
    successes = sum(one.success for one in results)
    display.console.print(f"{successes} of {len(results)} reached; kept in [bold]{out}[/bold]")
    text = json.dumps([dataclasses.asdict(one) for one in results], indent=2) + "\n"
    write_text_whole(out, text)
