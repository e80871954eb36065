"""Returns of experts and of random actions, measured once over fresh seeds and kept in a table.

The table, `references.json`, says with which versions it was measured; `mugato reference` measures
tasks anew. A reference that ranks nothing, the expert no better than chance, is refused.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import gymnasium
import numpy as np

from mugato.system.errors import one_line
from mugato.system.files import write_text_whole
from mugato.system.workers import WorkerPool
from mugato.tasks.conform import NotInSpaceError
from mugato.tasks.environment import opened
from mugato.tasks.registry import PACKAGES, TASKS
from mugato.tasks.rollout import Rollout, random_policy, run_episode
from mugato.tasks.task import EVALUATION_SEEDS, ActionFunction, Task

REFERENCES = Path(__file__).with_name("references.json")
DIGITS = 6  # significant ones that are kept

PAGE_HEAD = f"""# Tasks, and what their experts and random actions achieve

Written by `mugato reference --package --page docs/references.md`; not to be edited by hand.
Returns are means ± standard deviations over fresh seeds from {EVALUATION_SEEDS.start:,} on, which
neither demonstrations nor the choice of an expert's gains have seen. Success is the share of seeds
whose return counts as one; a seed at which the expert gives up with an error is none, and is left
out of its mean. JAT has the tasks marked with a dot under the same name.
"""
PAGE_COLUMNS = """
| task | JAT | expert | success | timesteps | random | success | seeds |
|---|---|---|---|---|---|---|---|
"""

Progress = Callable[[int], None]  # called with how many seeds have been played


@dataclass(frozen=True, kw_only=True)
class PolicyStats:
    """Statistics of the expert or of random actions, over all seeds.

    Attributes:
        mean, std: of the episode returns.
        success: share of the seeds whose return counts as a success; see `Task.failure_return`.
        length: mean number of timesteps.
    """

    mean: float
    std: float
    success: float
    length: float


@dataclass(frozen=True, kw_only=True)
class EpisodeSummary:
    """What is kept of one episode."""

    episode_return: float
    length: int


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a task's returns are measured against.

    Attributes:
        episodes: number of seeds, from the first of `EVALUATION_SEEDS` on.
        gave_up: at how many of them the expert did, with an error. They count as no success, and
            not in its mean.
        versions: of the packages that the environment comes from.
    """

    expert_stats: PolicyStats
    random_stats: PolicyStats
    episodes: int
    gave_up: int
    versions: Mapping[str, str]

    @property
    def expert(self) -> float:
        """The expert's mean return."""
        return self.expert_stats.mean

    @property
    def random(self) -> float:
        """The mean return of random actions."""
        return self.random_stats.mean


def reference(name: str) -> Reference | None:
    """Look a task up in the table that comes with mugato; None where it is not there."""
    return _shipped().get(name)


@cache
def _shipped() -> Mapping[str, Reference]:
    return load_references(REFERENCES)


def measure(task: Task, *, episodes: int, progress: Progress = lambda played: None) -> Reference:
    """Let the expert and random actions play the first evaluation seeds.

    Raises:
        ValueError: no expert, one that acts outside the action space or always gives up, or one
            that is no better than random actions.
        ImportError: a package of the task's domain is missing.
    """
    if task.make_expert is None:
        raise ValueError(f"{task.name} has no expert to measure")
    if not 1 <= episodes <= len(EVALUATION_SEEDS):
        raise ValueError(f"episodes must be in [1, {len(EVALUATION_SEEDS)}], got {episodes}")
    expert, chance = play_seeds(task, EVALUATION_SEEDS[:episodes], progress=progress)
    measured = Reference(
        expert_stats=_stats(task, expert, episodes),
        random_stats=_stats(task, chance, episodes),
        episodes=episodes,
        gave_up=episodes - len(expert),
        versions=versions_of(task),
    )
    if measured.expert <= measured.random:
        raise ValueError(
            f"{task.name}: no reference, for the expert's mean return {measured.expert:g} is not "
            f"above that of random actions, {measured.random:g}"
        )
    return measured


def measure_all(
    tasks: Sequence[Task], *, episodes: int, workers: int
) -> Iterator[tuple[Task, Reference | Exception]]:
    """Yield each task with its reference, or with what was wrong, as soon as it is known.

    Args:
        workers: processes; with 1 everything happens in this one.
    """
    measured = partial(measure, episodes=episodes)
    if workers == 1:
        for task in tasks:
            yield task, _reference_or_error(partial(measured, task))
        return
    with WorkerPool(workers) as pool:
        futures = {pool.submit(measured, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], _reference_or_error(future.result)


def play_seeds(
    task: Task, seeds: Sequence[int], *, progress: Progress = lambda played: None
) -> tuple[list[EpisodeSummary], list[EpisodeSummary]]:
    """Let the expert, if there is one, and random actions play each seed.

    Returns:
        The expert's episodes, without those at which it gave up; the random ones, without those
        that ended in an error of the environment's, which are warned of.

    Raises:
        ValueError: an expert that acts outside the action space or gives up at all seeds; an
            environment that fails under random actions at all seeds.
    """
    expert, chance = list[EpisodeSummary](), list[EpisodeSummary]()
    with opened(task.make_env) as env:
        for number, seed in enumerate(seeds, 1):
            if task.make_expert is not None:
                expert += _summary(expert_rollout(task, env, seed))
            chance += _summary(_random_rollout(task, env, seed))
            progress(number)
    if task.make_expert is not None and not expert:
        raise ValueError(f"{task.name}: the expert gave up at all {len(seeds)} seeds")
    if not chance:
        raise ValueError(f"{task.name} fails under random actions at all {len(seeds)} seeds")
    return expert, chance


def expert_rollout(task: Task, env: gymnasium.Env, seed: int) -> Rollout | None:
    """Play the expert's episode, without noise; None where it gives up: some do, with any error.

    Raises:
        ValueError: an expert that acts outside the action space.
    """
    assert task.make_expert is not None, "checked before"
    limit = task.max_episode_steps
    try:
        return run_episode(env, task.make_expert, seed=seed, max_episode_steps=limit)
    except NotInSpaceError as error:
        raise ValueError(f"{task.name}, seed {seed}: {error}") from error
    except Exception:
        return None


def versions_of(task: Task) -> dict[str, str]:
    """Versions of Gymnasium and of the packages that the task's domain comes from.

    Raises:
        ImportError: one of them is not installed.
    """
    names = ("gymnasium", *PACKAGES.get(task.domain, ()))
    return {name: version(name) for name in names}


def load_references(path: Path) -> dict[str, Reference]:
    """Read a table; a file that is not there is an empty one.

    Raises:
        ValueError: naming the file and the task, if an entry is not what is written here.
    """
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a table of references: {error}") from None
    references = {}
    for name, entry in table.items():
        try:
            stats = {key: PolicyStats(**entry.pop(key)) for key in ("expert_stats", "random_stats")}
            references[name] = Reference(**stats, **entry)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {name}: not a reference: {error!r}") from None
    return references


def save_references(references: Mapping[str, Reference], path: Path) -> None:
    """Write a table, sorted, one line a task."""
    lines = [
        f" {json.dumps(name)}: {json.dumps(asdict(entry))}"
        for name, entry in sorted(references.items())
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    write_text_whole(path, text)


def unmeasured(
    tasks: Iterable[Task], known: Mapping[str, Reference], *, episodes: int
) -> list[Task]:
    """Return the tasks whose reference is missing, or was measured otherwise."""
    return [task for task in tasks if not _is_measured(task, known.get(task.name), episodes)]


def references_page(references: Mapping[str, Reference]) -> str:
    """Return the table as a page of Markdown, domain by domain in the order of the registry."""
    measured = [task for task in TASKS.values() if task.name in references]
    sections = [PAGE_HEAD]
    for domain, tasks in groupby(measured, key=lambda task: task.domain):
        rows = {task.name: references[task.name] for task in tasks}
        sections.append(f"\n## {domain}\n\n{_versions(rows)}\n{PAGE_COLUMNS}{_rows(rows)}")
    return "".join(sections)


def _reference_or_error(measured: Callable[[], Reference]) -> Reference | Exception:
    try:
        return measured()
    except Exception as error:  # environments raise what they like; the other tasks go on
        return error


def _is_measured(task: Task, known: Reference | None, episodes: int) -> bool:
    if known is None or known.episodes != episodes:
        return False
    try:
        return known.versions == versions_of(task)
    except ImportError:  # measuring will say what to install
        return False


def _random_rollout(task: Task, env: gymnasium.Env, seed: int) -> Rollout | None:
    """Play the episode of random actions; None where the environment fails."""

    def policy(env: gymnasium.Env) -> ActionFunction:
        return random_policy(env, seed=seed)

    try:
        return run_episode(env, policy, seed=seed, max_episode_steps=task.max_episode_steps)
    except Exception as error:
        message = f"{task.name}, seed {seed}: left out of the mean of random actions"
        warnings.warn(f"{message}: {one_line(error)}", RuntimeWarning, stacklevel=2)
        return None


def _summary(rollout: Rollout | None) -> list[EpisodeSummary]:
    """Return what is kept of an episode, or nothing where there was none."""
    if rollout is None:
        return []
    return [EpisodeSummary(episode_return=rollout.episode_return, length=len(rollout))]


def _stats(task: Task, played: list[EpisodeSummary], episodes: int) -> PolicyStats:
    returns = np.array([one.episode_return for one in played])
    return PolicyStats(
        mean=_rounded(returns.mean()),
        std=_rounded(returns.std()),
        success=_rounded(sum(map(task.succeeded, returns.tolist())) / episodes),
        length=_rounded(np.mean([one.length for one in played])),
    )


def _rounded(value: float | np.floating) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rows(references: Mapping[str, Reference]) -> str:
    return "".join(
        f"| `{name}` | {'·' if TASKS[name].jat_name else ''} | {_shown(r.expert_stats)} "
        f"| {_success(name, r.expert_stats)}{_gave_up(r)} | {r.expert_stats.length:.0f} "
        f"| {_shown(r.random_stats)} | {_success(name, r.random_stats)} | {r.episodes} |\n"
        for name, r in references.items()
    )


def _shown(stats: PolicyStats) -> str:
    return f"{stats.mean:.4g} ± {stats.std:.2g}"


def _success(name: str, stats: PolicyStats) -> str:
    return "–" if TASKS[name].failure_return is None else f"{stats.success:.0%}"


def _gave_up(reference: Reference) -> str:
    return f" (gave up at {reference.gave_up})" if reference.gave_up else ""


def _versions(references: Mapping[str, Reference]) -> str:
    versions = sorted({f"{k} {v}" for r in references.values() for k, v in r.versions.items()})
    return f"Measured with {', '.join(versions)}."
