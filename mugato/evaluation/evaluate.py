"""Evaluate a run: every task, question, caption and text, then `report.json`, `.md` and `.html`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mugato.acting.sampling import Sampling
from mugato.evaluation.contents import chosen, run_contents
from mugato.evaluation.episodes import Acting, load_agent
from mugato.evaluation.findings import Findings, collect, find_tasks, plan_jobs
from mugato.evaluation.jobs import run_episode_jobs
from mugato.evaluation.plan import Plan
from mugato.evaluation.video import rendering_variables
from mugato.reports.report import report_data, write_report
from mugato.system.workers import Job
from mugato.tasks.task import DEMONSTRATION_SEEDS, EVALUATION_SEEDS

Progress = Callable[[str, int, int], None]  # called with (what is at work, done, of how many)


def evaluate(
    run: Path,
    *,
    command: str,
    episodes: int = 50,
    tasks: Sequence[str] | None = None,
    workers: int = 2,
    started: float | None = None,
    progress: Progress = lambda what, done, total: None,
    sampling: Sampling = Sampling(),
    seed: int = 0,
    first_seed: int = EVALUATION_SEEDS.start,
    videos: bool = True,
) -> dict[str, Any]:
    """Score the agent in a run's folder and write the report there; return what `report.json` says.

    A task that fails leaves the others as they are; the report says why it has no score.

    Args:
        tasks: only these tasks and sources; all that the agent was trained on where None.
        workers: processes of one thread each.
        started: when the whole undertaking began, in seconds since 1970.
        progress: called with (what is at work, percent done, 100).

    Raises:
        ValueError: no agent in `run`, an unknown task, seeds that demonstrations may have used.
    """
    begun = time.time()
    plan = make_plan(
        run,
        tasks=tasks,
        episodes=episodes,
        first_seed=first_seed,
        sampling=sampling,
        seed=seed,
        videos=videos,
    )
    findings = find_out(plan, workers=workers, progress=progress)
    data = report_data(
        plan,
        findings,
        command=command,
        workers=workers,
        seconds=time.time() - begun,
        total_seconds=time.time() - (begun if started is None else started),
    )
    write_report(plan.run, data, findings)
    return data


def find_out(
    plan: Plan, *, workers: int = 2, progress: Progress = lambda what, done, total: None
) -> Findings:
    """Run all the plan's jobs, the longest first."""
    tasks, problems = find_tasks(plan.names)
    jobs = plan_jobs(plan, tasks)
    environment = rendering_variables() if plan.videos and tasks else {}
    outcomes = run_episode_jobs(
        jobs, workers=workers, environment=environment, progress=percent(jobs, progress)
    )
    return collect(plan, tasks, outcomes, problems)


def make_plan(
    run: Path,
    *,
    tasks: Sequence[str] | None = None,
    episodes: int = 50,
    first_seed: int = EVALUATION_SEEDS.start,
    sampling: Sampling = Sampling(),
    seed: int = 0,
    videos: bool = True,
) -> Plan:
    """What to evaluate; arguments as in `evaluate`.

    Raises:
        ValueError: no agent in `run`, an unknown task, seeds that demonstrations may have used.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    if first_seed < DEMONSTRATION_SEEDS.stop:
        raise ValueError(
            f"seeds below {DEMONSTRATION_SEEDS.stop} are for demonstrations, got {first_seed}"
        )
    run, acting = Path(run), make_acting(sampling, seed)
    contents = run_contents(run, load_agent(str(run), acting.device))
    wanted = chosen(contents, tasks)
    return Plan(
        run=run,
        names=wanted.tasks,
        sources=wanted.sources,
        contents=contents,
        episodes=episodes,
        first_seed=first_seed,
        acting=acting,
        videos=videos,
    )


def make_acting(sampling: Sampling, seed: int) -> Acting:
    """In bf16 where there are units for it; asked of the machine, never chosen by a stopwatch."""
    if torch.cuda.is_available():
        return Acting(sampling=sampling, seed=seed, device="cuda", precision="bf16")
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()  # new in PyTorch
    precision = "bf16" if capabilities.get("amx_bf16") else "fp32"
    return Acting(sampling=sampling, seed=seed, precision=precision)


def percent(jobs: Sequence[Job], progress: Progress) -> Progress:
    """Progress over all jobs, each weighing what it costs; what is done again is not counted."""
    costs = {job.name: job.cost for job in jobs}
    shares = dict.fromkeys(costs, 0.0)

    def advance(name: str, done: int, total: int) -> None:
        if name in shares:
            shares[name] = done / total
        whole = sum(costs[job] * share for job, share in shares.items()) / sum(costs.values())
        progress(name, round(100 * whole), 100)

    return advance
