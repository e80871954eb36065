"""Episodes in a batch are those that each row would have played alone; crashes cost one episode."""

import dataclasses

import pytest

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import AgentTask, Sampling
from mugato.evaluation.config import load_agent
from mugato.evaluation.episodes import (
    EpisodeRequest,
    FailedEpisode,
    PlayedEpisode,
    play_episodes,
)
from mugato.spec import spec_of
from mugato.system.workers import JobProgress
from mugato.tasks.registry import TASKS
from tests.agents import tiny_agent
from tests.evaluation.environments import Guess, guess_task

SEEDS = range(3_000_000, 3_000_007)


@pytest.fixture
def agent():
    return tiny_agent({"guess": spec_of(Guess.observation_space, Guess.action_space)})


@pytest.fixture
def folder(agent, tmp_path):
    agent.save_pretrained(tmp_path / "agent")
    return tmp_path / "agent"


def cart_pole_agent():
    env = TASKS["cartpole"].make_env()
    return tiny_agent({"cartpole": spec_of(env.observation_space, env.action_space)}, seed=3)


def play(agent, task, seeds, **options):
    return play_episodes(agent, [EpisodeRequest(task=task, seed=seed) for seed in seeds], **options)


@pytest.mark.parametrize("max_envs", [7, pytest.param(3, marks=pytest.mark.thorough)])
def test_episodes_in_a_batch_equal_episodes_alone(max_envs):
    agent, task = cart_pole_agent(), TASKS["cartpole"]
    together = play(agent, task, SEEDS, max_envs=max_envs)
    alone = [play(agent, task, [seed])[0] for seed in SEEDS]
    assert together == alone
    assert [episode.seed for episode in together] == list(SEEDS)
    assert len({episode.length for episode in together if isinstance(episode, PlayedEpisode)}) > 1


@pytest.mark.parametrize("history", [None, pytest.param(1, marks=pytest.mark.thorough), 2])
def test_tasks_that_look_alike_step_together(history):
    spec = spec_of(Guess.observation_space, Guess.action_space)
    agent = tiny_agent({"guess": spec, "riddle": spec}, history=history)
    tasks = [guess_task(), guess_task("riddle")]
    mixed = [EpisodeRequest(task=task, seed=seed) for seed in SEEDS for task in tasks]
    together = play_episodes(agent, mixed, max_envs=4)
    assert [(e.task, e.seed) for e in together] == [(a.task.name, a.seed) for a in mixed]
    assert together[::2] == play(agent, tasks[0], SEEDS, max_envs=1)
    assert together[1::2] == play(agent, tasks[1], SEEDS, max_envs=1)


def test_tasks_that_differ_in_their_specs_are_refused():
    spec = spec_of(Guess.observation_space, Guess.action_space)
    agent = tiny_agent({"guess": spec})
    tasks = {**agent.tasks, "riddle": AgentTask(spec=spec, history=1)}
    agent = dataclasses.replace(agent, tasks=tasks)
    mixed = [EpisodeRequest(task=guess_task(name), seed=3_000_000) for name in ("guess", "riddle")]
    with pytest.raises(ValueError, match="guess and riddle cannot step together"):
        play_episodes(agent, mixed)


def test_a_return_is_the_undiscounted_sum_of_rewards(agent):
    for episode in play(agent, guess_task(), SEEDS):
        assert 0 <= episode.episode_return <= episode.length <= 6
    long = play(cart_pole_agent(), TASKS["cartpole"], SEEDS)
    assert all(episode.episode_return == episode.length for episode in long)


def test_sampled_actions_repeat_under_a_seed_and_differ_under_another(agent):
    def acted(seed):
        inference = InferenceConfig(precision="fp32", sampling=Sampling(temperature=1.0), seed=seed)
        return play(agent, guess_task(), SEEDS, inference=inference)

    assert acted(0) == acted(0)
    assert acted(0) != acted(1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", "RuntimeError: the motor is on fire"),
        ("nan", "the reward at timestep 0 is nan"),
        ("blind", "the observation/place holds NaN"),
        ("reset", "OSError: no power"),
    ],
)
def test_a_crash_costs_one_episode_and_is_told(agent, fault, message):
    """The third seed's environment crashes whenever it is tried."""
    sick = guess_task(fault=fault, at=[SEEDS[2]])
    played = play(agent, sick, SEEDS, max_envs=4)
    well = play(agent, guess_task(), SEEDS)
    assert isinstance(played[2], FailedEpisode) and message in played[2].error
    assert played[:2] + played[3:] == well[:2] + well[3:]


def test_an_episode_that_crashed_once_is_played_again(agent, tmp_path):
    flaky = guess_task(fault="error", at=[SEEDS[2]], once=tmp_path / "crashed")
    assert play(agent, flaky, SEEDS, max_envs=4) == play(agent, guess_task(), SEEDS)
    assert (tmp_path / "crashed").exists()


def test_what_the_agent_cannot_read_is_no_environments_fault(agent):
    other = dataclasses.replace(guess_task(), make_env=TASKS["cartpole"].make_env)
    with pytest.raises(ValueError, match="guess: the observation does not have the task's"):
        play(agent, other, SEEDS)


def test_progress_counts_episodes_and_names_what_is_at_work(agent):
    seen = []
    progress = JobProgress(tell=lambda *now: seen.append(now))
    play(agent, guess_task(), SEEDS, max_envs=4, progress=progress)
    assert [done for done, _ in seen] == list(range(1, 8))
    assert seen[-1] == (7, 7)
    assert 0 <= progress.place.value < 7


def test_every_action_is_checked(agent):
    task = guess_task()
    env = task.make_env()
    env.action_space = type(env.action_space)(1, start=9)
    [played] = play(agent, dataclasses.replace(task, make_env=lambda: env), SEEDS[:1])
    assert isinstance(played, FailedEpisode) and "the agent's action" in played.error


def test_an_agent_is_read_again_when_it_was_trained_further(agent, folder):
    first = load_agent(folder, "cpu")
    assert load_agent(folder, "cpu") is first
    agent.save_pretrained(folder)
    assert load_agent(folder, "cpu") is not first
