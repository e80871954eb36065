"""Jobs in other processes: what one of them does to itself is no harm to the others."""

import os
import signal

import pytest

from mugato.system.jobs import Job, run_jobs


def double(progress, *, of: int) -> int:
    progress(1, 1)
    return 2 * of


def fail(progress) -> None:
    raise ValueError("the task has no reference")


def stumble(progress) -> None:
    raise KeyError("door")


def die(progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_three(progress) -> None:
    progress.at(3)
    os._exit(7)


def threads(progress) -> tuple:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["FLAVOR"]


class Double:
    """A job's function with an argument."""

    def __init__(self, of: int) -> None:
        self.of = of

    def __call__(self, progress) -> int:
        return double(progress, of=self.of)


@pytest.mark.thorough
def test_every_job_ends_in_a_result_or_a_reason():
    jobs = [
        Job(name="one", run=Double(1)),
        Job(name="dies", run=die, cost=9.0),
        Job(name="dies at three", run=die_at_three),
        Job(name="fails", run=fail, cost=5.0),
        Job(name="stumbles", run=stumble),
        Job(name="cannot travel", run=lambda progress: 0),
        Job(name="threads", run=threads),
        Job(name="two", run=Double(2)),
    ]
    seen = []
    outcomes = run_jobs(
        jobs, workers=2, environment={"FLAVOR": "sweet"}, progress=lambda *now: seen.append(now)
    )
    assert [outcome.name for outcome in outcomes] == [job.name for job in jobs]
    found = {outcome.name: outcome for outcome in outcomes}
    assert (found["one"].result, found["two"].result) == (2, 4)
    assert found["threads"].result == (1, "1", "sweet")
    assert "signal 9 (out of memory?)" in found["dies"].error
    assert [found[name].place for name in ("dies", "dies at three", "fails")] == [None, 3, None]
    assert found["fails"].error == "the task has no reference"
    assert found["stumbles"].error.startswith("KeyError: 'door' (test_jobs.py:")
    assert "cannot be sent to other processes" in found["cannot travel"].error
    assert {name for name, done, total in seen if done == total} >= {"one", "dies", "fails", "two"}
    assert "FLAVOR" not in os.environ


def test_one_worker_is_this_process_and_the_longest_job_goes_first():
    order = []

    def note(name):
        return lambda progress: order.append(name) or os.getpid()

    jobs = [Job(name=name, run=note(name), cost=cost) for name, cost in (("a", 1.0), ("b", 2.0))]
    outcomes = run_jobs(jobs, workers=1, environment={})
    assert order == ["b", "a"]
    assert [outcome.result for outcome in outcomes] == [os.getpid()] * 2


def test_one_worker_computes_with_one_thread_as_many_do():
    import torch

    before = torch.get_num_threads()
    [outcome] = run_jobs(
        [Job(name="a", run=lambda progress: torch.get_num_threads())], workers=1, environment={}
    )
    assert outcome.result == 1 and torch.get_num_threads() == before


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run_jobs([], workers=0, environment={})
