"""What a prompt is worth: no prompt, a demonstration of the task, and one of another task (§2.5).

All three play the same seeds, so that episodes are pairs. The demonstrations are new ones, by the
expert at seeds that are neither trained on nor scored; each serves a few episodes. A task without
an expert is shown by the first demonstrations of the data set that the agent was trained on.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from mugato.agent import Agent
from mugato.data.formats.minari.read import open_minari
from mugato.episode import Episode
from mugato.evaluation.comparison import Difference, difference
from mugato.evaluation.config import Plan
from mugato.evaluation.episodes import EpisodeRequest
from mugato.evaluation.evaluate import task_scores
from mugato.evaluation.jobs import PlayEpisodes
from mugato.evaluation.references import measure_reference, tabled_reference
from mugato.evaluation.scores import Reference, TaskScores
from mugato.spec import Spec, flatten
from mugato.system.errors import one_line
from mugato.system.jobs import Job, Outcome
from mugato.tasks.references import by_expert
from mugato.tasks.task import TUNING_SEEDS, Task

NONE, RIGHT, WRONG = CONDITIONS = ("no prompt", "right task", "wrong task")
COMPARED = ((NONE, RIGHT), (NONE, WRONG), (WRONG, RIGHT))
NUM_PROMPTS = 4
MAX_TRIES = 100  # seeds at which an expert may fail before there is no demonstration


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Each task's scores under each condition, as far as it could be played.

    Attributes:
        differences: by (first, second) condition; over all tasks that have both under "all".
        remarks: what was not played, and why.
    """

    scores: Mapping[str, Mapping[str, TaskScores]]
    wrong_tasks: Mapping[str, str]
    differences: Mapping[tuple[str, str], Mapping[str, Difference]]
    remarks: Sequence[str]


def ablation_jobs(
    plan: Plan, agent: Agent, tasks: Sequence[Task]
) -> tuple[list[Job], dict[str, str], list[str]]:
    """The jobs, each task's wrong task, and what cannot be played."""
    jobs, wrong, remarks = list[Job](), dict[str, str](), list[str]()
    shown: dict[str, list[Episode]] = {}
    for task in tasks:
        spec = agent.spec(task.name)
        if (history := agent.history(task.name)) is not None:
            remarks.append(
                f"{task.name}: left out: the agent forgets after {history} timesteps, a "
                "prompt as well"
            )
            continue
        own = _prompts(task, spec, plan, shown, remarks)
        if not own:
            continue
        jobs += _jobs(plan, task, NONE, [None])
        jobs += _jobs(plan, task, RIGHT, own)
        if (other := _other(task, tasks, agent)) is None:
            remarks.append(f"{task.name}: no other task looks alike: no wrong demonstration")
        elif others := _prompts(other, spec, plan, shown, remarks):
            wrong[task.name] = other.name
            jobs += _jobs(plan, task, WRONG, others)
    if not jobs:
        raise ValueError("no task can be prompted: " + ("; ".join(remarks) or "there are none"))
    return jobs, wrong, remarks


def collect_ablation(
    plan: Plan,
    tasks: Sequence[Task],
    outcomes: Sequence[Outcome],
    wrong: Mapping[str, str],
    remarks: Sequence[str],
) -> Ablation:
    """Put the episodes together again, and pair them."""
    remarks = [*remarks, *(f"{o.name}: {o.error}" for o in outcomes if o.error is not None)]
    played = [t for t in tasks if any(o.name.startswith(f"{t.name}, ") for o in outcomes)]
    references = _references(plan, played, remarks)
    scores: dict[str, dict[str, TaskScores]] = {}
    for condition in CONDITIONS:
        results = [o.result for o in outcomes if f", {condition}, " in o.name and o.error is None]
        found, problems = task_scores(tasks, [e for r in results for e in r], references)
        remarks += [f"{name}, {condition}: {why}" for name, why in problems.items()]
        for name, score in found.items():
            if score.reference.expert > score.reference.random:
                scores.setdefault(name, {})[condition] = score
            else:
                remarks.append(f"{name}: left out: its expert is no better than chance")
    return Ablation(
        scores=scores,
        wrong_tasks=wrong,
        differences={pair: dict(_differences(scores, *pair)) for pair in COMPARED},
        remarks=list(dict.fromkeys(remarks)),  # each condition finds the same fault
    )


def demonstrations(
    task: Task, spec: Spec, dataset: str | None = None
) -> Generator[Episode, None, None]:
    """The expert's successes from the first tuning seed on; without one the data set's episodes.

    Seeds at which the expert fails or gives up are passed over, `MAX_TRIES` seeds are played.

    Raises:
        ValueError: there is neither expert nor data set, or the data set cannot be read; an expert
            that acts outside the action space.
    """
    if task.make_expert is None:
        if dataset is None:
            raise ValueError(f"{task.name} has neither an expert nor demonstrations")
        source = open_minari(dataset)
        yield from (source[i] for i in range(len(source)))
        return
    with closing(task.make_env()) as env:
        for seed in TUNING_SEEDS[:MAX_TRIES]:
            rollout = by_expert(task, env, seed)
            if rollout is None or not task.succeeded(rollout.episode_return):
                continue
            yield Episode(
                observations=_stacked(spec.observation, rollout.observations[:-1], "observation"),
                actions=_stacked(spec.action, rollout.actions, "action"),
                rewards=rollout.rewards.astype(np.float32),
                name=f"{task.name}, the expert at seed {seed}",
            )


def _references(plan: Plan, tasks: Sequence[Task], remarks: list[str]) -> dict[str, Reference]:
    """What each task's returns are measured against; why there is nothing in `remarks`."""
    references: dict[str, Reference] = {}
    for task in tasks:
        dataset = plan.contents.demonstrations.get(task.name)
        try:
            references[task.name] = tabled_reference(task, plan.seeds) or measure_reference(
                task, plan.seeds, demonstrations=dataset
            )
        except Exception as error:  # as in `_prompts`
            remarks.append(f"{task.name}: left out: no reference: {one_line(error)}")
    return references


def _prompts(
    task: Task, spec: Spec, plan: Plan, shown: dict[str, list[Episode]], remarks: list[str]
) -> list[Episode]:
    """A task's demonstrations, found once and kept in `shown`; why there are none in `remarks`."""
    if task.name not in shown:
        dataset, found = plan.contents.demonstrations.get(task.name), list[Episode]()
        try:
            with closing(demonstrations(task, spec, dataset)) as all_of_them:
                found += islice(all_of_them, NUM_PROMPTS)
            if not found:
                remarks.append(f"{task.name}: the expert fails at all of {MAX_TRIES} seeds")
        except Exception as error:  # an environment's or a data set's, and no other task's affair
            remarks.append(f"{task.name}: no demonstration: {one_line(error)}")
        shown[task.name] = found
    return shown[task.name]


def _stacked(tree: Any, values: Sequence[Any], root: str) -> dict[str, np.ndarray]:
    """Values of each leaf with a leading axis of timesteps."""
    flat = [flatten(tree, value, root) for value in values]
    return {
        path: np.array([f[path] for f in flat], dtype=object if isinstance(v, str) else None)
        for path, v in flat[0].items()
    }


def _jobs(
    plan: Plan, task: Task, condition: str, prompts: Sequence[Episode | None]
) -> Iterator[Job]:
    """Each prompt's share of the seeds."""
    for i, prompt in enumerate(prompts):
        seeds = plan.seeds[i :: len(prompts)]
        if not seeds:
            return
        yield Job(
            name=f"{task.name}, {condition}, prompt {i + 1}",
            run=PlayEpisodes(
                folder=str(plan.run),
                requests=tuple(EpisodeRequest(task=task, seed=seed) for seed in seeds),
                inference=replace(plan.inference, prompt=prompt),
            ),
            cost=float(task.max_episode_steps * len(seeds)),
        )


def _other(task: Task, tasks: Sequence[Task], agent: Agent) -> Task | None:
    """Return the next task in the list whose observations and actions are of the same kind."""
    place = tasks.index(task)
    others = [*tasks[place + 1 :], *tasks[:place]]
    alike = agent.task(task.name)
    return next((other for other in others if agent.task(other.name) == alike), None)


def _differences(
    scores: Mapping[str, Mapping[str, TaskScores]], first: str, second: str
) -> Iterator[tuple[str, Difference]]:
    pairs = {}
    for name, by_condition in scores.items():
        if first not in by_condition or second not in by_condition:
            continue
        one, other = (
            dict(zip(s.seeds, s.normalized(), strict=True))
            for s in (by_condition[first], by_condition[second])
        )
        common = [seed for seed in one if seed in other]
        if common:
            pairs[name] = np.array([[one[seed], other[seed]] for seed in common])
            yield name, difference([pairs[name]])
    if pairs:
        yield "all", difference(list(pairs.values()))
