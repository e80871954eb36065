"""Episodes in several processes: some die, the others' episodes are what they would have been."""

from collections import Counter

import pytest

from mugato.acting.batch_policy import InferenceConfig
from mugato.evaluation import jobs as module
from mugato.evaluation.episodes import MAX_ENVS, FailedEpisode
from mugato.evaluation.jobs import JobKey, episode_jobs, episodes_of, results_of, run_episode_jobs
from mugato.spec import spec_of
from mugato.system.jobs import Job
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task

INFERENCE = InferenceConfig(precision="fp32")

SEEDS = range(3_000_000, 3_000_006)


@pytest.fixture
def agent(tmp_path):
    spec = spec_of(Guess.observation_space, Guess.action_space)
    env = TASKS["cartpole"].make_env()
    cartpole = spec_of(env.observation_space, env.action_space)
    agent = tiny_agent({"guess": spec, "riddle": spec, "cartpole": cartpole})
    agent.save_pretrained(tmp_path)
    return agent


def played(jobs, workers):
    outcomes = run_episode_jobs(jobs, workers=workers, environment={})
    assert [o.error for o in outcomes] == [None] * len(outcomes)
    episodes = episodes_of(outcomes)
    assert max(Counter((e.task, e.seed) for e in episodes).values()) == 1
    return {(e.task, e.seed): e for e in episodes}


def test_tasks_of_one_spec_share_jobs_and_every_episode_is_in_one(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCHES_PER_JOB", 1)
    monkeypatch.setitem(MAX_ENVS, "cpu", 4)
    tasks = [guess_task(), TASKS["cartpole"], guess_task("riddle")]
    jobs = episode_jobs(agent, tmp_path, tasks, SEEDS, INFERENCE)
    assert [len(job.run.requests) for job in jobs] == [4, 4, 4, 3, 3]
    assert {a.task.name for a in jobs[1].run.requests} == {"guess", "riddle"}
    assert len({job.name for job in jobs}) == 5
    assigned = [(a.task.name, a.seed) for job in jobs for a in job.run.requests]
    assert sorted(assigned) == sorted((task.name, seed) for task in tasks for seed in SEEDS)


@pytest.mark.thorough
def test_any_number_of_workers_plays_the_same(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCHES_PER_JOB", 1)
    monkeypatch.setitem(MAX_ENVS, "cpu", 4)
    tasks = [guess_task(), TASKS["cartpole"], guess_task("riddle")]
    jobs = episode_jobs(agent, tmp_path, tasks, SEEDS, InferenceConfig(precision="fp32", seed=5))
    one, three = played(jobs, 1), played(jobs, 3)
    assert one == three and len(one) == 18


@pytest.mark.thorough
@pytest.mark.parametrize("once", [True, False])
def test_a_dying_process_costs_no_other_episode(agent, tmp_path, once):
    mark = tmp_path / "died" if once else None
    tasks = [guess_task(fault="death", at=[SEEDS[2]], once=mark), guess_task("riddle")]
    found = played(episode_jobs(agent, tmp_path, tasks, SEEDS, INFERENCE), 2)
    healthy = [guess_task(), guess_task("riddle")]
    well = played(episode_jobs(agent, tmp_path, healthy, SEEDS, INFERENCE), 1)
    culprit = ("guess", SEEDS[2])
    if once:
        assert found == well
    else:
        assert found.pop(culprit) == FailedEpisode(
            task="guess", seed=SEEDS[2], error="its process died with exit status 7"
        )
        well.pop(culprit)
        assert found == well


@pytest.mark.thorough
def test_a_task_that_only_kills_is_given_up(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEADLY", 1)
    tasks = [guess_task(fault="death"), guess_task("riddle")]
    found = played(episode_jobs(agent, tmp_path, tasks, SEEDS[:3], INFERENCE), 1 + 1)
    errors = [e.error for e in found.values() if isinstance(e, FailedEpisode)]
    assert sorted(errors) == [
        "its process died with exit status 7",
        *2 * ["not played: 1 other episodes of the task killed their processes"],
    ]
    assert len(found) == 6


def test_other_jobs_outcomes_stay_as_they_are():
    jobs = [
        Job(name=name, key=JobKey(part="reference", name=name), run=run)
        for name, run in {"a": lambda progress: 7, "b": lambda progress: 1 / 0}.items()
    ]
    seen = []
    outcomes = run_episode_jobs(
        jobs, workers=1, environment={}, on_progress=lambda *now: seen.append(now)
    )
    assert results_of(outcomes, "reference") == {"a": 7}
    assert [o.error is None for o in outcomes] == [True, False]
    assert seen[-1] == ("b", 100, 100)
