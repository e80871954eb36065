"""`mugato play`: one episode as a video."""

from pathlib import Path
from typing import Annotated

import tyro

from mugato.acting.batch_policy import InferenceConfig
from mugato.acting.sampling import GREEDY, Sampling
from mugato.cli import display


def play(
    task: Annotated[str, tyro.conf.Positional],
    *,
    agent: Path = Path("runs/demo"),
    seed: int = 3_000_000,
    sampling: Annotated[Sampling, tyro.conf.arg(name="")] = Sampling(),
    greedy: bool = False,
    out: Path | None = None,
) -> None:
    """Let the agent act in one episode and render it as a video.

    Args:
        task: a task that the agent was trained on.
        agent: folder of the run.
        seed: of the episode, and of the sampling.
        sampling: how ids are chosen.
        greedy: take the likeliest id every time, as --temperature 0 does.
        out: the video; `<agent>/videos/<task>-<seed>.mp4` if not given.
    """
    from mugato.evaluation.video import render_video, video_name

    path = out or agent / "videos" / video_name(f"{task}-{seed}")
    with display.status(f"Playing {task}"):
        inference = InferenceConfig(sampling=GREEDY if greedy else sampling)
        episode_return = render_video(agent, task, seed=seed, path=path, inference=inference)
    display.console.print(f"return {episode_return:g}, video in [bold]{path}[/bold]")
