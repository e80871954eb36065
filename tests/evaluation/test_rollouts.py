"""Episodes in a batch are those that each row would have played alone."""

import numpy as np
import pytest

from mugato.data.minari_source import open_minari
from mugato.evaluation.rollouts import (
    Acting,
    demonstrated_returns,
    evaluate_task,
    load_agent,
    play_episodes,
)
from mugato.sampling import Sampling
from mugato.spec import spec_of
from mugato.tasks.record import record
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


@pytest.mark.parametrize("max_envs", [7, 3])
def test_episodes_in_a_batch_equal_episodes_alone(max_envs):
    agent, task = cart_pole_agent(), TASKS["cartpole"]
    together = play_episodes(agent, task, SEEDS, max_envs=max_envs)
    alone = [play_episodes(agent, task, [seed])[0] for seed in SEEDS]
    assert together == alone
    assert len({episode.length for episode in together}) > 1


def test_a_return_is_the_undiscounted_sum_of_rewards(agent):
    for episode in play_episodes(agent, guess_task(), SEEDS):
        assert 0 <= episode.episode_return <= episode.length <= 6
    long = play_episodes(cart_pole_agent(), TASKS["cartpole"], SEEDS)
    assert all(episode.episode_return == episode.length for episode in long)


def test_sampled_actions_repeat_under_a_seed_and_differ_under_another(agent):
    def play(seed):
        acting = Acting(sampling=Sampling(temperature=1.0), seed=seed)
        return play_episodes(agent, guess_task(), SEEDS, acting=acting)

    assert play(0) == play(0)
    assert play(0) != play(1)


def test_agent_expert_and_random_play_the_same_seeds(folder):
    scores = evaluate_task(folder, guess_task(), episodes=7)
    assert scores.first_seed == 3_000_000
    assert len(scores.returns) == len(scores.expert) == len(scores.random) == 7
    # The expert is always right, so that its return is the length; lengths come from the seed.
    assert scores.expert == [float(length) for length in scores.lengths]
    assert all(r <= e for r, e in zip(scores.random, scores.expert, strict=True))


def test_without_an_expert_the_demonstrations_are_the_reference(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    report = record(guess_task(), episodes=3, dataset_id="guesses-v0")
    scores = evaluate_task(
        folder, guess_task(expert=False), episodes=2, demonstrations="guesses-v0"
    )
    assert scores.expert_is == "demonstrations"
    assert scores.expert == report.returns == demonstrated_returns(guess_task(), "guesses-v0")
    assert len(open_minari("guesses-v0")) == 3


def test_without_any_reference_the_task_is_refused(folder):
    with pytest.raises(ValueError, match="guess has neither an expert nor demonstrations"):
        evaluate_task(folder, guess_task(expert=False), episodes=1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", "guess, seed 3000000: RuntimeError: the motor is on fire"),
        ("nan", "guess, seed 3000000: the reward is nan"),
    ],
)
def test_a_failing_environment_is_named_with_its_seed(agent, fault, message):
    with pytest.raises(ValueError, match=message):
        play_episodes(agent, guess_task(fault=fault), SEEDS)


def test_progress_counts_episodes(agent):
    seen = []
    play_episodes(agent, guess_task(), SEEDS, max_envs=4, progress=lambda *now: seen.append(now))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (7, 7)


def test_no_episodes_are_refused(folder):
    with pytest.raises(ValueError, match="guess: episodes must be at least 1, got 0"):
        evaluate_task(folder, guess_task(), episodes=0)


def test_every_action_is_checked(agent):
    with pytest.raises(ValueError, match=r"seed 3000000: the agent's action .* is outside"):
        task = guess_task()
        env = task.make_env()
        env.action_space = type(env.action_space)(1, start=9)
        narrowed = type(task)(**{**vars(task), "make_env": lambda: env})
        play_episodes(agent, narrowed, SEEDS[:1])
    assert np.all([Guess.action_space.contains(i) for i in range(4)])


def test_an_agent_is_read_again_when_it_was_trained_further(agent, folder):
    first = load_agent(folder, "cpu")
    assert load_agent(folder, "cpu") is first
    agent.save_pretrained(folder)
    assert load_agent(folder, "cpu") is not first
