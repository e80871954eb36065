"""`mugato record`: expert demonstrations, and corrections of an agent, as Minari data sets."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from mugato.cli import display
from mugato.cli.display import console
from mugato.corrections.recorder import (
    CorrectionConfig,
    default_episodes,
    driven_tasks,
    record_corrections,
)
from mugato.recording.recorder import RecordConfig, RecordReport
from mugato.recording.recorder import record as record_task
from mugato.tasks.gymnasium_task import gymnasium_task
from mugato.tasks.registry import TASKS, get_task
from mugato.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class OwnEnvironment:
    """A Gymnasium environment instead of one of our tasks.

    Attributes:
        env: its registered id, or "module:Env-v0" to import `module` first.
        expert: "package.module:name" of a function from observation to action, of a class that is
            made for each episode, or of an object with `predict`; or "sb3:ppo:model.zip", a model
            saved by Stable-Baselines3.
        env_kwargs: what the environment is made with, as NAME=VALUE.
        wrapper: "package.module:Wrapper" around it, the innermost first.
    """

    env: str | None = None
    expert: str | None = None
    env_kwargs: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()

    def task(self, dataset: str | None) -> Task:
        """Describe it.

        Raises:
            ValueError: if it is not there, or has no expert, or `dataset` is not named.
        """
        if self.env is None or self.expert is None or dataset is None:
            raise ValueError("--env needs --expert package.module:name and --dataset NAME")
        return gymnasium_task(
            self.env,
            env_kwargs=parsed_env_kwargs(self.env_kwargs),
            wrappers=self.wrapper,
            expert=self.expert,
        )


@dataclass(frozen=True, kw_only=True)
class Driver:
    """An agent that acts in the expert's place, which says at every step what it would have done.

    What is executed is the agent's, what is learned is the expert's (DAgger, Ross et al. 2011), so
    that the data shows the states that the agent gets into. All episodes are kept.

    Attributes:
        driver: a run's folder; the data sets' ids tell which weights drove. `mugato train` with
            --corrections does all of it: trains, records, and trains on.
        expert_share: in this share of the episodes the expert drives first, for up to as long as a
            demonstration usually lasts. With 0 the agent always drives, as it does at play.
        max_lengths: episodes are cut after so many times the usual length of a demonstration.
    """

    driver: Path | None = None
    expert_share: float = 0.25
    max_lengths: float = 3.0

    def tasks(self) -> tuple[str, ...]:
        """Name all tasks of ours in which the agent can be corrected; none without an agent."""
        return () if self.driver is None else driven_tasks(self.driver)

    def config(self, record: RecordConfig) -> CorrectionConfig:
        """Return how corrections are recorded.

        Raises:
            ValueError: for what has no meaning for them.
        """
        assert self.driver is not None
        for name in ("action_noise", "keep_failures", "keep_above", "jpeg"):
            if (value := getattr(record, name)) not in (None, False):
                raise ValueError(f"--driver goes without {name}, got {value}")
        return CorrectionConfig(
            driver=self.driver,
            episodes=record.episodes,
            dataset=record.dataset,
            expert_share=self.expert_share,
            max_lengths=self.max_lengths,
            workers=record.workers,
            first_seed=record.first_seed or None,
            overwrite=record.overwrite,
        )


def record(
    task: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    domain: str | None = None,
    preset: str | None = None,
    json: bool = False,
    own: Annotated[OwnEnvironment, tyro.conf.arg(name="")] = OwnEnvironment(),
    driver: Annotated[Driver, tyro.conf.arg(name="")] = Driver(),
    config: Annotated[RecordConfig, tyro.conf.arg(name="")] = RecordConfig(workers=2),
) -> None:
    """Record expert demonstrations as Minari data sets; what was interrupted goes on.

    Examples: `mugato record babyai-go-to-local`, `mugato record --domain metaworld`,
    `mugato record --preset demo`, `mugato record babyai-go-to-local --driver runs/demo`,
    `mugato record --env CartPole-v1 --expert my_module:policy --episodes 100 --dataset my-data`.

    Args:
        task: tasks to record, by name, see `mugato record list`; a driver's own if none is named.
        domain: record every task of this domain that has an expert and was not recorded yet.
        preset: record every task of this preset that was not recorded yet.
        json: `mugato record list` for a program.
        own: an environment of your own.
        driver: an agent that acts while its expert corrects it.
        config: how to record.
    """
    if task == ("list",):
        _show_tasks(as_json=json)
        return
    if json:
        raise ValueError("--json belongs to `mugato record list`")
    is_own, driven = own != OwnEnvironment(), driver.driver is not None
    if not (task or domain or preset or is_own):
        task = driver.tasks()
    if sum((is_own, domain is not None, preset is not None, bool(task))) != 1:
        raise ValueError("name either tasks, or --domain, or --preset, or --env")
    anew = config.overwrite or driven
    tasks = [own.task(config.dataset)] if is_own else _chosen(task, domain, preset, overwrite=anew)
    if config.dataset is not None and len(tasks) != 1:
        raise ValueError(f"--dataset names one data set, but there are {len(tasks)} tasks")
    record_and_show(tasks, driver.config(config) if driven else config)


def parsed_env_kwargs(given: Sequence[str]) -> dict[str, Any]:
    """Return NAME=VALUE pairs as a mapping; a value is JSON, or else text.

    >>> parsed_env_kwargs(["size=6", "map_name=4x4", "is_slippery=false"])
    {'size': 6, 'map_name': '4x4', 'is_slippery': False}

    Raises:
        ValueError: for a pair without "=".
    """
    pairs = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise ValueError(f"--env-kwargs are NAME=VALUE, not {pair!r}")
        try:
            pairs[name] = loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


def record_and_show(tasks: Sequence[Task], config: RecordConfig | CorrectionConfig) -> None:
    """Record tasks one after the other, with a progress bar each.

    Raises:
        ValueError: naming the tasks that could not be recorded, after all others were.
    """
    failed = {}
    for task in tasks:
        try:
            _record(task, config)
        except (ValueError, ImportError) as error:
            if len(tasks) == 1:
                raise
            console.print(
                f"[red]{task.name} was not recorded:[/red] {escape(str(error))}", highlight=False
            )
            failed[task.name] = error
    if failed:
        raise ValueError(f"{len(failed)} of {len(tasks)} not recorded: {', '.join(failed)}")


def _record(task: Task, config: RecordConfig | CorrectionConfig) -> None:
    kept, total = 0, config.episodes or task.episodes
    if isinstance(config, CorrectionConfig):
        total = config.episodes or default_episodes(task.episodes)
    try:
        with display.progress(f"recording {task.name}") as show_progress:

            def show(episodes: int, dropped: int) -> None:
                nonlocal kept
                kept = episodes
                show_progress("", kept, total)

            if isinstance(config, CorrectionConfig):
                report = record_corrections(task, config, on_progress=show)
            else:
                report = record_task(task, config, on_progress=show)
    except BaseException:
        if kept:
            how = " without --overwrite" if config.overwrite else ""
            console.print(
                f"{task.name}: {kept} of {total} episodes are kept; the same command{how} goes on "
                "from there",
                soft_wrap=True,
            )
        raise
    for line in _recorded(report):
        console.print(escape(line), highlight=False, soft_wrap=True)


def _recorded(report: RecordReport) -> Iterator[str]:
    """Say in one line what was recorded, and in more what of it tokens lose."""
    from mugato.cli.data import usual_tokenizer
    from mugato.data.formats.minari.read import open_minari
    from mugato.data.round_trip import sample_warnings
    from mugato.data.summary import summarize

    tokenizer = usual_tokenizer()
    source = open_minari(report.dataset_id)
    found = summarize(source, tokenizer)
    parts = [
        f"{report.dataset_id}: {report.episodes:,} episodes, {report.timesteps:,} timesteps",
        f"{'' if found.exact else '≈ '}{found.tokens:,} tokens",
        f"{report.size_bytes / 1e6:,.1f} MB",
        f"mean return {report.return_mean:.2f}",
    ]
    if report.dropped:
        causes = ", ".join(f"{count} {cause}" for cause, count in report.dropped_by_cause.items())
        parts.append(f"{len(report.dropped)} dropped ({causes})")
    if report.cut:
        causes = Counter(reason.partition(":")[0] for reason in report.cut.values())
        said = ", ".join(f"{count} {cause}" for cause, count in causes.items())
        parts.append(f"{len(report.cut)} cut where the expert had no answer ({said})")
    if report.continued:
        parts.append(f"{report.continued} from before")
    yield f"{', '.join(parts)}, {report.seconds:.0f} s"
    yield from (f"Warning: {line}" for line in sample_warnings(source, tokenizer))


def unrecorded(tasks: Sequence[Task], *, overwrite: bool = False) -> list[Task]:
    """Return the tasks whose own data set is not complete yet; all, if it may be overwritten."""
    from mugato.recording.store import is_recorded

    return [task for task in tasks if overwrite or not is_recorded(task.dataset_id)]


def _chosen(
    names: Sequence[str], domain: str | None, preset: str | None, *, overwrite: bool
) -> list[Task]:
    """Return the tasks that are named, or what is due of a domain or preset."""
    if domain is not None:
        tasks = unrecorded(domain_tasks(domain), overwrite=overwrite)
    elif preset is not None:
        tasks = unrecorded(preset_tasks(preset), overwrite=overwrite)
    else:
        tasks = [get_task(name) for name in names]
    if not tasks:
        console.print("All of it is recorded; --overwrite begins anew")
    return tasks


def preset_tasks(name: str) -> list[Task]:
    """Return the preset's tasks that learn from our own demonstrations."""
    from mugato.training.presets import preset as preset_of
    from mugato.training.run_info import is_task

    datasets = preset_of(name).datasets
    return [get_task(d.name) for d in datasets if is_task(d) and d.demonstrations is None]


def domain_tasks(name: str) -> list[Task]:
    """Return the domain's tasks that have an expert.

    Raises:
        ValueError: for an unknown domain, listing the known ones, or one without experts.
    """
    domains = sorted({task.domain for task in TASKS.values()})
    if name not in domains:
        raise ValueError(f"no domain {name!r}; there are {', '.join(domains)}")
    tasks = [task for task in TASKS.values() if task.domain == name and task.make_expert]
    if not tasks:
        raise ValueError(f"no task of the domain {name!r} has an expert to record")
    return tasks


def _show_tasks(*, as_json: bool) -> None:
    """Show all tasks, one line each."""
    if as_json:
        keys = ("name", "domain", "episodes", "action_noise")
        display.print_json([{k: getattr(task, k) for k in keys} for task in TASKS.values()])
        return
    table = Table("task", "domain", "demonstrations", "action noise", box=None)
    for task in TASKS.values():
        table.add_row(task.name, task.domain, str(task.episodes), f"{task.action_noise:g}")
    console.print(table)
