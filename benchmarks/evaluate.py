"""Evaluating ten BabyAI levels: batched in processes, beside one environment at a time.

A micro agent with random weights plays the same episodes both ways; each way runs several times in
turn, and the quickest run of each counts. One environment at a time is one process that plays one
episode after the other with the same policy, in fp32 and in bf16, with one thread and with as many
as there are workers, of which the quickest counts; by default it plays every 25th episode, and its
time is taken per timestep. References, videos and the report are left out of both; starting the
worker processes is not.

    python benchmarks/evaluate.py [--episodes 50] [--workers 2] [--rounds 3] [--agent FOLDER]
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from mugato.acting.batch_policy import InferenceConfig
from mugato.agent import Agent, AgentTask
from mugato.evaluation.config import EvaluationConfig, inference_config
from mugato.evaluation.episodes import (
    EpisodeRequest,
    EpisodeResult,
    PlayedEpisode,
    play_episodes,
)
from mugato.evaluation.jobs import episode_jobs, episodes_of, run_episode_jobs
from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.model.precision import Precision
from mugato.spec import spec_of
from mugato.tasks.registry import TASKS
from mugato.tasks.task import EVALUATION_SEEDS, Task
from mugato.tokens.images import ImageTokenizer
from mugato.tokens.text import TextTokenizer
from mugato.tokens.tokenizer import Tokenizer

LEVELS = (
    "babyai-go-to-red-ball-no-dists", "babyai-go-to-red-ball-grey", "babyai-go-to-red-ball",
    "babyai-go-to-obj", "babyai-go-to-local", "babyai-pickup-loc", "babyai-put-next-local",
    "babyai-open-red-door", "babyai-action-obj-door", "babyai-go-to-door",
)  # fmt: skip
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
WORDS = "go to pick up put the a red green blue purple yellow grey ball key box door next open"


def random_agent(tasks: Sequence[Task]) -> Agent:
    """Return a micro agent, untrained, that knows the levels."""
    text = TextTokenizer.train([WORDS] * 50, num_pieces=300)
    config = GatoConfig.micro()
    vocab = type(config.vocab)(num_text=text.num_pieces)
    known = {}
    for task in tasks:
        env = task.make_env()
        spec = spec_of(env.observation_space, env.action_space)
        known[task.name] = AgentTask(spec=spec)
        env.close()
    torch.manual_seed(0)
    model = Gato(GatoConfig.micro(vocab)).eval()
    tokenizer = Tokenizer(text=text, vocab=vocab, image=ImageTokenizer(max_patches=16))
    return Agent(model=model, tokenizer=tokenizer, tasks=known)


def batched(
    agent: Agent, folder: Path, tasks: Sequence[Task], seeds: Sequence[int], workers: int
) -> list[EpisodeResult]:
    """Play as `mugato evaluate` does."""
    jobs = episode_jobs(agent, folder, tasks, seeds, inference_config(EvaluationConfig()))
    outcomes = run_episode_jobs(jobs, workers=workers, environment={})
    if errors := [outcome.error for outcome in outcomes if outcome.error]:
        raise ValueError("; ".join(errors))
    return episodes_of(outcomes)


def one_at_a_time(
    agent: Agent, tasks: Sequence[Task], seeds: Sequence[int], precision: Precision, threads: int
) -> list[EpisodeResult]:
    """Play in one process and one environment."""
    torch.set_num_threads(threads)
    requests = [EpisodeRequest(task=task, seed=seed) for task in tasks for seed in seeds]
    return play_episodes(
        agent, requests, inference=InferenceConfig(precision=precision), max_envs=1
    )


def num_timesteps(episodes: Sequence[EpisodeResult]) -> int:
    assert all(isinstance(episode, PlayedEpisode) for episode in episodes), episodes
    return sum(episode.length for episode in episodes if isinstance(episode, PlayedEpisode))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=50, help="per level")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=25, help="episodes played one at a time")
    parser.add_argument("--agent", type=Path, help="a trained agent instead of random weights")
    arguments = parser.parse_args()
    tasks = [TASKS[name] for name in LEVELS]
    seeds = EVALUATION_SEEDS[: arguments.episodes]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.agent is None:
            agent = random_agent(tasks)
            agent.save_pretrained(folder)
        else:
            folder = arguments.agent
            agent = Agent.from_pretrained(folder)
            tasks = [task for task in tasks if task.name in agent.tasks]
        print(f"{len(tasks)} levels, {len(seeds)} episodes each, {arguments.workers} workers")
        together, alone = list[float](), list[float]()
        for _ in range(arguments.rounds):
            begun = time.perf_counter()
            played = batched(agent, folder, tasks, seeds, arguments.workers)
            seconds, steps = time.perf_counter() - begun, num_timesteps(played)
            together.append(1000 * seconds / steps)
            print(f"batched: {seconds:.1f} s, {steps} timesteps, {together[-1]:.2f} ms each")
            for precision, threads in product(PRECISIONS, {1, arguments.workers}):
                begun = time.perf_counter()
                some = seeds[:: arguments.every]
                single = one_at_a_time(agent, tasks, some, precision, threads)
                seconds, steps = time.perf_counter() - begun, num_timesteps(single)
                alone.append(1000 * seconds / steps)
                how = f"{precision}, {threads} threads"
                print(f"one at a time, {how}: {steps} timesteps, {alone[-1]:.2f} ms each")
                same = {(e.task, e.seed): e for e in played}
                equal = sum(same[e.task, e.seed] == e for e in single)
                print(f"{equal} of {len(single)} episodes came out as in the batch")
    print(
        f"quickest: {min(together):.2f} ms a timestep batched, {min(alone):.2f} one at a time: "
        f"{min(alone) / min(together):.1f}x"
    )


if __name__ == "__main__":
    main()
