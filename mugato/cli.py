"""The command line: `mugato record | train | evaluate | play | generate | demo`."""

import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from mugato import display
from mugato.presets import PRESETS, preset
from mugato.training.config import TrainConfig

console = Console()


def record(
    task: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    preset: str | None = None,
    env: str | None = None,
    expert: str | None = None,
    episodes: int | None = None,
    dataset: str | None = None,
    workers: int = 2,
    first_seed: int = 0,
    action_noise: float | None = None,
    keep_failures: bool = False,
    overwrite: bool = False,
) -> None:
    """Record expert demonstrations as Minari data sets.

    Examples: `mugato record babyai-go-to-local`, `mugato record --preset demo`,
    `mugato record --env CartPole-v1 --expert my_module:policy --episodes 100 --dataset my-data`.

    Args:
        task: tasks to record, by name; `mugato record list` shows them all.
        preset: record every task of this preset that was not recorded yet.
        env: any registered Gymnasium environment instead of a task.
        expert: with --env: "package.module:function", from observation to action.
        episodes: demonstrations per task; the task's own number if not given.
        dataset: Minari id to write to; the task's own if not given.
        workers: processes.
        first_seed: first episode seed. Keep below 1,000,000: tuning and evaluation start there.
        action_noise: share of executed actions that stray from the expert's, which stay recorded.
        keep_failures: keep episodes in which the expert failed.
        overwrite: replace a data set that exists.
    """
    from mugato.tasks.gymnasium_task import gymnasium_task
    from mugato.tasks.registry import TASKS, get_task

    if task == ("list",):
        display.tasks(TASKS.values())
        return
    if (env is not None) + (preset is not None) + bool(task) != 1:
        raise ValueError("name either tasks, or --preset, or --env")
    options: dict[str, Any] = {
        "episodes": episodes, "dataset_id": dataset, "workers": workers, "first_seed": first_seed,
        "action_noise": action_noise, "keep_failures": keep_failures, "overwrite": overwrite,
    }  # fmt: skip
    if env is not None:
        if expert is None or dataset is None:
            raise ValueError("--env needs --expert package.module:function and --dataset NAME")
        display.record([gymnasium_task(env, expert=expert)], options)
    elif preset is not None:
        display.record(_unrecorded(preset), options)
    else:
        display.record([get_task(name) for name in task], options)


def train(arguments: Sequence[str]) -> None:
    """Train an agent: `mugato train --preset demo [--steps 500 --model.width 128 ...]`."""
    arguments = list(arguments)
    name = _take(arguments, "--preset")
    env = _take(arguments, "--env")
    demonstrations = _take(arguments, "--demonstrations") if env else None
    resume = _take_flag(arguments, "--resume")
    if env and not demonstrations:
        raise ValueError("--env needs --demonstrations NAME, a Minari data set")
    base = preset(name or ("environment" if env else "demo"))
    if env and demonstrations:
        base = _narrowed(base, tasks=(env,), sources=() if name is None else base.sources)
        base = dataclasses.replace(base, demonstrations={env: demonstrations})
    tasks, chosen = _values(arguments, "--tasks"), _values(arguments, "--sources")
    base = _narrowed(
        base,
        tasks=base.tasks if tasks is None else tasks,
        sources=base.sources if chosen is None else chosen,
    )
    config = tyro.cli(
        TrainConfig,
        default=base,
        args=arguments,
        prog="mugato train",
        description=(
            "Train an agent. --preset NAME chooses a complete configuration "
            f"({', '.join(PRESETS)}), the flags below change it. --env ID --demonstrations NAME "
            "trains on any Minari data set of any Gymnasium environment. --resume goes on where "
            "the run stopped."
        ),
    )
    run_training(config, resume=resume)


def run_training(config: TrainConfig, *, resume: bool = False) -> None:
    """Train in as many processes as the machine has cores for, or in this one."""
    from mugato.training.launch import num_processes, run_in_processes

    count = num_processes(config)
    if count == 1:
        _train_here(config, resume)
    else:
        run_in_processes(count, _train_here, config, resume)


def _train_here(config: TrainConfig, resume: bool) -> None:
    """Open the data, train, and show how it goes."""
    from mugato.training.loop import train as training_loop
    from mugato.training.parallel import ranks
    from mugato.training.setup import make_agent, make_mixture, make_tokenizer, open_sources

    with ranks() as peers:
        with display.status("Reading demonstrations and text", quiet=not peers.is_main):
            sources = open_sources(config)
            tokenizer = make_tokenizer(config, sources)
            mixture = make_mixture(config, sources, tokenizer)
            agent = make_agent(config, sources, tokenizer)
        with display.training(config, agent, quiet=not peers.is_main) as on_report:
            progress = training_loop(
                config, agent, mixture, peers, resume=resume, on_report=on_report
            )
        if peers.is_main:
            display.trained(config, progress)


def evaluate(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    episodes: int = 50,
    tasks: tuple[str, ...] | None = None,
    workers: int = 2,
    started: float | None = None,
) -> None:
    """Score a trained agent on fresh seeds and write report.json, report.md and report.html.

    Args:
        run: folder of the run.
        episodes: episodes per task, on seeds from 3,000,000 that no demonstration uses.
        tasks: only these; all that the agent was trained on if not given.
        workers: processes.
        started: when the whole undertaking began, in seconds since 1970, for `total_seconds`.
    """
    display.evaluate(
        run, episodes=episodes, tasks=tasks, workers=workers, started=started, command=_command()
    )


def play(
    task: Annotated[str, tyro.conf.Positional],
    *,
    agent: Path = Path("runs/demo"),
    seed: int = 3_000_000,
    out: Path | None = None,
) -> None:
    """Let the agent act in one episode and render it as a video.

    Args:
        task: a task that the agent was trained on.
        agent: folder of the run.
        seed: of the episode.
        out: the video; `<agent>/videos/<task>-<seed>.mp4` if not given.
    """
    from mugato.evaluation.videos import render_video

    name = task.replace("/", "-").replace(":", "-")
    path = out or agent / "videos" / f"{name}-{seed}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with display.status(f"Playing {task}"):
        episode_return = render_video(agent, task, seed=seed, path=path)
    console.print(f"return {episode_return:g}, video in [bold]{path}[/bold]")


def generate(
    prompt: Annotated[str, tyro.conf.Positional] = "",
    *,
    agent: Path = Path("runs/demo"),
    image: Path | None = None,
    question: str | None = None,
    task: str | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
) -> None:
    """Continue a text; with --image, caption the picture, or answer a --question about it.

    Args:
        prompt: text to continue; empty starts a new document.
        agent: folder of the run.
        image: a picture file.
        question: asked about the picture.
        task: source whose way of answering is used; emoji for captions, easy-vqa for questions.
        max_tokens: of continued text.
        temperature: 0 takes the likeliest token every time.
        top_p: sample among the likeliest tokens that hold this much probability.
        seed: of the sampling.
    """
    from mugato import generate as generation
    from mugato.agent import Agent
    from mugato.data.pictures import read_picture
    from mugato.sampling import Sampling

    loaded = Agent.from_pretrained(agent)
    if image is None:
        if question is not None:
            raise ValueError("--question needs --image")
        console.print(prompt, end="", markup=False, highlight=False)
        sampling = Sampling(temperature=temperature, top_p=top_p)
        for piece in generation.continue_text(
            loaded, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed
        ):
            console.print(piece, end="", markup=False, highlight=False)
        console.print()
        return
    name = task or ("emoji" if question is None else "easy-vqa")
    size_px = loaded.spec(name).observation_leaves["image"].shape[0]
    picture = read_picture(image.read_bytes(), size_px=size_px)
    if question is None:
        console.print(generation.caption(loaded, [picture], task=name)[0], markup=False)
    else:
        console.print(generation.answer(loaded, [picture], [question], task=name)[0], markup=False)


def demo(*, run: Path = Path("runs/demo"), started: float | None = None) -> None:
    """Everything in one go: record what is missing, train one agent, evaluate it, write the report.

    Args:
        run: folder of the run.
        started: when the undertaking began, in seconds since 1970, if installing is to count.
    """
    started = started or time.time()
    display.record(_unrecorded("demo"), {"workers": 2})
    config = dataclasses.replace(preset("demo"), run=run)
    run_training(config)
    evaluate(run, started=started)


COMMANDS: Mapping[str, Callable[..., Any]] = {
    "record": record,
    "train": train,
    "evaluate": evaluate,
    "play": play,
    "generate": generate,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; what a user can cause ends in one line and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] not in COMMANDS:
        display.commands(COMMANDS)
        sys.exit(0 if arguments in (["--help"], ["-h"]) else 2)
    name, *rest = arguments
    try:
        if name == "train":
            train(rest)
        else:
            tyro.cli(COMMANDS[name], args=rest, prog=f"mugato {name}")
    except (ValueError, ImportError, OSError) as error:
        Console(stderr=True).print(
            f"[red]mugato {name}:[/red] {error}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        sys.exit(130)


def _unrecorded(name: str) -> list[Any]:
    """The preset's tasks whose own data set is not there yet."""
    from mugato.data.minari_source import dataset_folder
    from mugato.tasks.registry import get_task

    config = preset(name)
    tasks = [get_task(task) for task in config.tasks if task not in config.demonstrations]
    return [task for task in tasks if not dataset_folder(task.dataset_id).exists()]


def _narrowed(
    config: TrainConfig, *, tasks: tuple[str, ...], sources: tuple[str, ...]
) -> TrainConfig:
    """The same run with other tasks and sources: what was said of the missing ones is dropped."""

    def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name in {*tasks, *sources}}

    return dataclasses.replace(
        config, tasks=tasks, sources=sources, weights=kept(config.weights),
        history=kept(config.history), splits=kept(config.splits),
        demonstrations=kept(config.demonstrations),
    )  # fmt: skip


def _values(arguments: Sequence[str], flag: str) -> tuple[str, ...] | None:
    """The values that follow a flag, if it is there."""
    if flag not in arguments:
        return None
    rest = arguments[arguments.index(flag) + 1 :]
    return tuple(itertools.takewhile(lambda value: not value.startswith("--"), rest))


def _take(arguments: list[str], flag: str) -> str | None:
    """Remove `flag VALUE` or `flag=VALUE` from the arguments and return the value."""
    for i, argument in enumerate(arguments):
        if argument == flag:
            if i + 1 == len(arguments):
                raise ValueError(f"{flag} needs a value")
            del arguments[i]
            return arguments.pop(i)
        if argument.startswith(f"{flag}="):
            return arguments.pop(i).partition("=")[2]
    return None


def _take_flag(arguments: list[str], flag: str) -> bool:
    found = flag in arguments
    if found:
        arguments.remove(flag)
    return found


def _command() -> str:
    return " ".join(["mugato", *sys.argv[1:]])
