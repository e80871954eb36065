"""`mugato play`: one episode as a video."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from mugato.acting.batch_policy import MAX_SEED, InferenceConfig
from mugato.cli import display
from mugato.cli.sampling_flags import SamplingFlags


def play(
    task: Annotated[str, tyro.conf.Positional],
    *,
    agent: Path = Path("runs/demo"),
    seed: int = 3_000_000,
    flags: Annotated[SamplingFlags, tyro.conf.arg(name="")] = SamplingFlags(),
    device: str = "cpu",
    out: Path | None = None,
) -> None:
    """Let the agent act in one episode and render it as a video.

    Args:
        task: a task that the agent was trained on, or `maze:FILE.json`, a maze of MultiNet v2.0.
        agent: folder of the run, or the name of an agent that comes with the package.
        seed: of the episode, and of the sampling.
        flags: how actions are chosen.
        device: where the agent computes: cpu, cuda, cuda:1, mps or auto.
        out: the video, .mp4 or .gif; `<agent>/videos/<task>-<seed>.mp4` if not given, and a .gif
            where `mugato[report]` is not installed.
    """
    from mugato.cli.at_hand import at_hand
    from mugato.evaluation.video import render_video, video_name

    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"seed must be from 0 to less than 2**62, got {seed}")
    agent = at_hand(agent)
    called = Path(task).stem if task.startswith("maze:") else task
    path = out or agent / "videos" / video_name(f"{called}-{seed}")
    if out is None and find_spec("imageio_ffmpeg") is None:  # which only an extra brings
        path = path.with_suffix(".gif")
    with display.status(f"Playing {task}"):
        inference = InferenceConfig(sampling=flags.sampling(), device=device)
        film = render_video(agent, task, seed=seed, path=path, inference=inference)
    for text in film.texts:
        display.console.print(text, highlight=False, markup=False, soft_wrap=True)
    display.console.print(f"return {film.episode_return:g}, video in [bold]{path}[/bold]")
