"""What a prompt is worth: no prompt, a demonstration of the task, and one of another task (§2.5).

All three play the same seeds, so that episodes are pairs. The demonstrations are new ones, by the
expert at seeds that are neither trained on nor scored; each serves a few episodes. A task without
an expert is shown by the first demonstrations of the data set that the agent was trained on.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mugato.data.formats.minari.read import open_minari
from mugato.episode import Episode, stack_values
from mugato.evaluation.agent_info import AgentInfo, agent_info
from mugato.evaluation.comparison import Difference, difference
from mugato.evaluation.config import EvaluationConfig, Plan, find_tasks, make_plan
from mugato.evaluation.episodes import EpisodeRequest
from mugato.evaluation.evaluate import task_scores
from mugato.evaluation.jobs import JobKey, OnProgress, PlayEpisodes, episodes_of, run_episode_jobs
from mugato.evaluation.references import measure_reference, tabled_reference
from mugato.evaluation.results import Provenance, save_json
from mugato.evaluation.scores import Reference, TaskScores
from mugato.spec import Spec, flatten
from mugato.system.errors import one_line
from mugato.system.jobs import Job, Outcome
from mugato.tasks.environment import opened
from mugato.tasks.references import expert_rollout
from mugato.tasks.task import TUNING_SEEDS, Task

NONE, RIGHT, WRONG = CONDITIONS = ("no prompt", "right task", "wrong task")
COMPARED = ((NONE, RIGHT), (NONE, WRONG), (WRONG, RIGHT))
NUM_PROMPTS = 4
MAX_TRIES = 100  # seeds at which an expert may fail before there is no demonstration
REPORT = "ablation.json"


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """Each task's scores under each condition, as far as it could be played.

    Attributes:
        scores: by task and condition.
        wrong_tasks: the task whose demonstrations stood for the wrong ones.
        differences: by (first, second) condition; over all tasks that have both under "all".
        remarks: what was not played, and why.
        agent: which weights were played.
    """

    plan: Plan
    agent: AgentInfo
    scores: Mapping[str, Mapping[str, TaskScores]]
    wrong_tasks: Mapping[str, str]
    differences: Mapping[tuple[str, str], Mapping[str, Difference]]
    remarks: Sequence[str]
    provenance: Provenance

    @property
    def num_prompts(self) -> int:
        """Demonstrations for each prompt condition."""
        return min(NUM_PROMPTS, self.plan.config.episodes)

    def _samplings(self) -> dict[str, Any]:
        asked, agent = self.plan.inference.sampling, self.plan.agent()
        return {name: asdict(asked or agent.task(name).sampling) for name in self.scores}

    def to_json(self) -> dict[str, Any]:
        """Return all numbers."""
        tasks = {
            name: {
                "wrong_task": self.wrong_tasks.get(name),
                "conditions": {c: scores.to_json() for c, scores in by_condition.items()},
            }
            for name, by_condition in self.scores.items()
        }
        differences = [
            {"first": first, "second": second, "tasks": {n: _row(d) for n, d in by_task.items()}}
            for (first, second), by_task in self.differences.items()
        ]
        return {
            "tasks": tasks,
            "differences": differences,
            "remarks": list(self.remarks),
            "episodes": self.plan.config.episodes,
            "seeds": [self.plan.seeds[0], self.plan.seeds[-1]],
            "prompts": self.num_prompts,
            "sampling": self._samplings(),
            "precision": self.plan.inference.precision,
            "workers": self.plan.config.workers,
            "train": asdict(self.agent),
            **asdict(self.provenance),
        }


def ablate(
    run: str | Path,
    config: EvaluationConfig = EvaluationConfig(episodes=20),
    *,
    on_progress: OnProgress = lambda what, done, total: None,
    command: str = "mugato.evaluation.ablation.ablate",
) -> Ablation:
    """Play all conditions, and write `ablation.json` into the run's folder.

    Raises:
        ValueError: no agent in `run`, an unknown task, or no task that can be prompted.
    """
    plan = make_plan(run, config)
    agent = agent_info(plan)  # before: what is played are the weights that lie there now
    tasks, problems = find_tasks(plan)
    prompting = plan_prompts(plan, tasks)
    outcomes = run_episode_jobs(
        prompting.jobs, workers=config.workers, environment={}, on_progress=on_progress
    )
    remarks = [*prompting.remarks, *(f"{name}: {why}" for name, why in problems.items())]
    remarks += [f"{o.name}: {o.error}" for o in outcomes if o.error is not None]
    scores = _scores(plan, tasks, outcomes, remarks)
    ablation = Ablation(
        plan=plan,
        agent=agent,
        scores=scores,
        wrong_tasks=prompting.wrong_tasks,
        differences={pair: dict(_differences(scores, *pair)) for pair in COMPARED},
        remarks=list(dict.fromkeys(remarks)),  # each condition finds the same fault
        provenance=Provenance.here(command),
    )
    save_json(plan.run / REPORT, ablation.to_json())
    return ablation


@dataclass(frozen=True, kw_only=True)
class Prompting:
    """What to play: jobs, each task's wrong task, and what cannot be played."""

    jobs: list[Job] = field(default_factory=list)
    wrong_tasks: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def plan_prompts(plan: Plan, tasks: Sequence[Task]) -> Prompting:
    """Find prompts, and make jobs of all tasks under all conditions.

    Raises:
        ValueError: if no task can be prompted.
    """
    agent, found = plan.agent(), Prompting()
    shown: dict[str, list[Episode]] = {}
    for task in tasks:
        spec = agent.spec(task.name)
        if (history := agent.history(task.name)) is not None:
            found.remarks.append(
                f"{task.name}: left out: the agent forgets after {history} timesteps, a "
                "prompt as well"
            )
            continue
        own = _prompts(task, spec, plan, shown, found.remarks)
        if not own:
            continue
        found.jobs.extend(_jobs(plan, task, NONE, [None]))
        found.jobs.extend(_jobs(plan, task, RIGHT, own))
        alike = [t for t in _after(task, tasks) if agent.task(t.name) == agent.task(task.name)]
        if not alike:
            found.remarks.append(f"{task.name}: no other task looks alike: no wrong demonstration")
        elif others := _prompts(alike[0], spec, plan, shown, found.remarks):
            found.wrong_tasks[task.name] = alike[0].name
            found.jobs.extend(_jobs(plan, task, WRONG, others))
    if not found.jobs:
        reasons = "; ".join(found.remarks) or "there are none"
        raise ValueError(f"no task can be prompted: {reasons}")
    return found


def demonstrations(
    task: Task, spec: Spec, dataset: str | None = None
) -> Generator[Episode, None, None]:
    """Yield the expert's successes from the first tuning seed on; without one the data set's.

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
    with opened(task.make_env) as env:
        for seed in TUNING_SEEDS[:MAX_TRIES]:
            rollout = expert_rollout(task, env, seed)
            if rollout is None or not task.succeeded(rollout.episode_return):
                continue
            yield Episode(
                observations=_stacked(spec, rollout.observations[:-1], "observation"),
                actions=_stacked(spec, rollout.actions, "action"),
                rewards=rollout.rewards.astype(np.float32),
                name=f"{task.name}, the expert at seed {seed}",
            )


def _prompts(
    task: Task, spec: Spec, plan: Plan, shown: dict[str, list[Episode]], remarks: list[str]
) -> list[Episode]:
    """Find a task's demonstrations once, kept in `shown`; say in `remarks` why there are none."""
    if task.name not in shown:
        dataset, found = plan.demonstrations(task.name), list[Episode]()
        try:
            with closing(demonstrations(task, spec, dataset)) as all_of_them:
                found += islice(all_of_them, NUM_PROMPTS)
            if not found:
                remarks.append(f"{task.name}: the expert fails at all of {MAX_TRIES} seeds")
        except Exception as error:  # an environment's or a data set's, and no other task's affair
            remarks.append(f"{task.name}: no demonstration: {one_line(error)}")
        shown[task.name] = found
    return shown[task.name]


def _stacked(spec: Spec, values: Sequence[Any], role: str) -> dict[str, np.ndarray]:
    """Stack values of each leaf, with a leading axis of timesteps."""
    tree = spec.observation if role == "observation" else spec.action
    leaves = spec.observation_leaves if role == "observation" else spec.action_leaves
    flat = [flatten(tree, value, role) for value in values]
    return {p: stack_values(leaf, [one[p] for one in flat]) for p, leaf in leaves.items()}


def _jobs(
    plan: Plan, task: Task, condition: str, prompts: Sequence[Episode | None]
) -> Iterator[Job]:
    """Give each prompt its share of the seeds."""
    for i, prompt in enumerate(prompts):
        seeds = plan.seeds[i :: len(prompts)]
        if not seeds:
            return
        yield Job(
            name=f"{task.name}, {condition}, prompt {i + 1}",
            key=JobKey(part="episodes", name=task.name, condition=condition),
            run=PlayEpisodes(
                folder=plan.run,
                requests=tuple(EpisodeRequest(task=task, seed=seed) for seed in seeds),
                inference=replace(plan.inference, prompt=prompt),
            ),
            cost=float(task.max_episode_steps * len(seeds)),
        )


def _after(task: Task, tasks: Sequence[Task]) -> list[Task]:
    """Return the other tasks, from the next in the list on."""
    place = tasks.index(task)
    return [*tasks[place + 1 :], *tasks[:place]]


def _scores(
    plan: Plan, tasks: Sequence[Task], outcomes: Sequence[Outcome], remarks: list[str]
) -> dict[str, dict[str, TaskScores]]:
    """Put the episodes together again, by task and condition; what is left out is in `remarks`."""
    played = {outcome.key.name for outcome in outcomes}
    references = _references(plan, [t for t in tasks if t.name in played], remarks)
    scores: dict[str, dict[str, TaskScores]] = {}
    for condition in CONDITIONS:
        found, problems = task_scores(tasks, episodes_of(outcomes, condition), references)
        remarks += [f"{name}, {condition}: {why}" for name, why in problems.items()]
        for name, score in found.items():
            if score.has_score:
                scores.setdefault(name, {})[condition] = score
            elif score.reference is not None:  # where there is none it was said
                remarks.append(f"{name}: left out: its expert is no better than chance")
    return scores


def _references(plan: Plan, tasks: Sequence[Task], remarks: list[str]) -> dict[str, Reference]:
    """Return what each task's returns are measured against; say in `remarks` why there is none."""
    references: dict[str, Reference] = {}
    for task in tasks:
        try:
            references[task.name] = tabled_reference(task, plan.seeds) or measure_reference(
                task, plan.seeds, demonstrations=plan.demonstrations(task.name)
            )
        except Exception as error:  # as in `_prompts`
            remarks.append(f"{task.name}: left out: no reference: {one_line(error)}")
    return references


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


def _row(found: Difference) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        "change": found.change,
        "ci95": list(found.interval),
        "pairs": found.pairs,
    }
