"""What there is to find out about a run, as jobs, and what came of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mugato.data.shakespeare import held_out_text, open_shakespeare
from mugato.evaluation import text as texts
from mugato.evaluation.pictures import Answers, evaluate_captions, evaluate_questions
from mugato.evaluation.rollouts import Acting, evaluate_task, load_agent
from mugato.evaluation.scores import TaskScores
from mugato.evaluation.tasks import RunContents, find_task
from mugato.evaluation.videos import film_episode, write_mp4
from mugato.evaluation.workers import Job, JobProgress, Outcome
from mugato.generate import continue_text
from mugato.sampling import Sampling
from mugato.tasks.task import Task

# How the part of the report is called that a source makes possible.
QUESTIONS, CAPTIONS, TEXT = "easy-vqa", "emoji", "shakespeare"
# Episodes of 50 that take about as long as the job, for the order and for the progress bar.
PICTURES_COST, TEXT_COST, VIDEO_COST = 25.0, 15.0, 1.0
CONTINUED_TOKENS = 100
PROMPT_CHARACTERS = 160
# Where in the held-out play the prompts begin.
PROMPT_PLACES = (0.1, 0.5, 0.9)
CONTINUATION = Sampling(temperature=0.8, top_p=0.95)


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What the agent wrote after a prompt, and where the play went on."""

    prompt: str
    written: str
    original: str


@dataclass(frozen=True, kw_only=True)
class TextFindings:
    """Numbers for the report, and samples beside them."""

    scores: dict[str, Any]
    continuations: tuple[Continuation, ...]


@dataclass(frozen=True, kw_only=True)
class Video:
    """A film on disk and what happens in it."""

    path: Path
    seed: int
    episode_return: float
    length: int
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All results by task or source; what failed is in `problems`, one line each.

    Attributes:
        seconds: how long each job took.
    """

    tasks: Mapping[str, TaskScores]
    videos: Mapping[str, Video]
    questions: Answers | None
    captions: Answers | None
    text: TextFindings | None
    problems: Mapping[str, str]
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to evaluate, and how.

    Attributes:
        names: the control tasks.
        videos: whether to film an episode of each task, at the seed after the scored ones.
    """

    run: Path
    names: tuple[str, ...]
    contents: RunContents
    episodes: int
    first_seed: int
    acting: Acting
    videos: bool

    @property
    def video_seed(self) -> int:
        return self.first_seed + self.episodes


def plan_jobs(plan: Plan) -> tuple[list[Job], dict[str, str]]:
    """The jobs, and why some tasks cannot even be tried."""
    jobs, problems = [], {}
    for name in plan.names:
        try:
            jobs += _task_jobs(plan, find_task(name))
        except (ValueError, ImportError) as error:
            problems[name] = str(error)
    for source, job in _LANGUAGE.items():
        if source in plan.contents.sources:
            run = partial(job, str(plan.run), plan.acting)
            cost = TEXT_COST if source == TEXT else PICTURES_COST
            jobs.append(Job(name=source, run=run, cost=cost))
    return jobs, problems


def collect(outcomes: Sequence[Outcome], problems: Mapping[str, str]) -> Findings:
    """Sort the outcomes by what they are about."""
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
    results = {outcome.name: outcome.result for outcome in outcomes if outcome.error is None}
    videos = {name: result for name, result in results.items() if isinstance(result, Video)}
    return Findings(
        tasks={name: r for name, r in results.items() if isinstance(r, TaskScores)},
        videos={name.removeprefix(_VIDEO): video for name, video in videos.items()},
        questions=results.get(QUESTIONS),
        captions=results.get(CAPTIONS),
        text=results.get(TEXT),
        problems={**problems, **failed},
        seconds={outcome.name: outcome.seconds for outcome in outcomes},
    )


_VIDEO = "video of "


def _task_jobs(plan: Plan, task: Task) -> list[Job]:
    play = partial(
        evaluate_task,
        str(plan.run),
        task,
        episodes=plan.episodes,
        first_seed=plan.first_seed,
        acting=plan.acting,
        demonstrations=plan.contents.demonstrations.get(task.name),
    )
    agent = load_agent(str(plan.run), plan.acting.device)
    elements = sum(leaf.size for leaf in agent.spec(task.name).action_leaves.values())
    # At worst, all episodes last as long as they may; 10,000 forward passes are about one second.
    cost = max(1.0, task.max_episode_steps * elements * plan.episodes / 1000)
    jobs = [Job(name=task.name, run=play, cost=cost)]
    if plan.videos:
        film = partial(_film, str(plan.run), task, plan.video_seed, plan.acting)
        jobs.append(Job(name=f"{_VIDEO}{task.name}", run=film, cost=VIDEO_COST))
    return jobs


def _film(run: str, task: Task, seed: int, acting: Acting, progress: JobProgress) -> Video:
    film = film_episode(run, task, seed=seed, acting=acting)
    name = task.name.replace("/", "-").replace(":", "-")
    path = Path(run) / "videos" / f"{name}.mp4"
    path.parent.mkdir(exist_ok=True)
    write_mp4(film, path)
    return Video(
        path=path,
        seed=seed,
        episode_return=film.episode_return,
        length=film.length,
        texts=film.texts,
    )


def _questions(run: str, acting: Acting, progress: JobProgress) -> Answers:
    agent = load_agent(run, acting.device)
    return evaluate_questions(agent, precision=acting.precision, progress=progress)


def _captions(run: str, acting: Acting, progress: JobProgress) -> Answers:
    agent = load_agent(run, acting.device)
    return evaluate_captions(agent, precision=acting.precision, progress=progress)


def _text(run: str, acting: Acting, progress: JobProgress) -> TextFindings:
    agent = load_agent(run, acting.device)
    play = held_out_text()
    source = open_shakespeare("train")
    training = [str(source[i].actions["text"][0]) for i in range(len(source))]
    scores = {
        "bits_per_byte": texts.bits_per_byte(
            agent, play, precision=acting.precision, progress=progress
        ),
        "bz2_bits_per_byte": texts.bz2_bits_per_byte(play),
        "unigram_bits_per_byte": texts.unigram_bits_per_byte(
            play, training_texts=training, tokenizer=agent.tokenizer.text
        ),
        "bytes": len(play.encode()),
        "text": "Shakespeare, Twelfth Night (held out)",
    }
    places = [int(len(play) * place) for place in PROMPT_PLACES]
    return TextFindings(
        scores=scores,
        continuations=tuple(
            _continue(agent, play, place, acting.seed + i) for i, place in enumerate(places)
        ),
    )


def _continue(agent: Any, play: str, place: int, seed: int) -> Continuation:
    start = play.index("\n\n", place) + 2
    stop = play.index("\n", start + PROMPT_CHARACTERS) + 1
    prompt = play[start:stop]
    pieces = continue_text(
        agent, prompt, max_tokens=CONTINUED_TOKENS, sampling=CONTINUATION, seed=seed
    )
    written = "".join(pieces)
    return Continuation(prompt=prompt, written=written, original=play[stop : stop + len(written)])


_LANGUAGE: Mapping[str, Callable[..., Any]] = {
    QUESTIONS: _questions,
    CAPTIONS: _captions,
    TEXT: _text,
}
