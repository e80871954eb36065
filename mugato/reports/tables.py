"""An evaluation's results in words and rows: the same in the terminal, in Markdown and on the page.

Everything is text here, ready to be shown; nothing knows where.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mugato.agent import Sampling
from mugato.evaluation.ablation import COMPARED, CONDITIONS, Ablation
from mugato.evaluation.agent_info import (
    SHOWN_DIGITS,
    STEPS,
    STOPPED,
    TIME,
    TOKENS,
    AgentInfo,
    staleness,
)
from mugato.evaluation.comparison import Comparison, Difference
from mugato.evaluation.language import AnswerResults, CaptionResults
from mugato.evaluation.results import EvaluationInfo, EvaluationResults, Provenance
from mugato.evaluation.scores import Interval, Summary, TaskScores
from mugato.evaluation.text import TextScores
from mugato.reports.scales import MARK, caution, cautions

T = TypeVar("T")

ENDED = {
    STEPS: "all steps were done",
    TOKENS: "all tokens were read",
    TIME: "the time was used up",
    STOPPED: "before its budget was used up: interrupted, given up or still training",
}
AGGREGATE_NAMES = {"mean": "mean", "median": "median", "iqm": "inter-quartile mean"}
# What must be known of both sides of a comparison to judge what differs.
COMPARED_FACTS = (
    "parameters", "weights", "training", "ended", "episodes", "references", "command", "machine",
    "commit", "date",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def select(self, *names: str) -> "Table":
        """Return some of the columns only."""
        places = [self.header.index(name) for name in names]
        return Table(header=names, rows=[[row[i] for i in places] for row in self.rows])

    def without_empty(self) -> "Table":
        """Leave out the columns in which no row has anything."""
        kept = [name for i, name in enumerate(self.header) if any(row[i] for row in self.rows)]
        return self.select(*kept)


def task_table(results: EvaluationResults) -> Table:
    """Return all tasks, the worst first."""
    header = ["task", "return", "success", "expert", "random", "normalized", "95 % interval",
              "by JAT's", "length"]  # fmt: skip
    return Table(header=header, rows=[_task_cells(task) for task in worst_first(results)])


def reference_table(results: EvaluationResults) -> Table:
    """Return what the scores stand on: the tasks whose references were measured alike, together."""
    groups: dict[str, list[str]] = {}
    for task in results.tasks.values():
        if task.has_score and task.reference is not None:
            groups.setdefault(task.reference.measured, []).append(task.name)
    rows = [[", ".join(names), measured] for measured, names in groups.items()]
    return Table(header=["scores of", "stand on"], rows=rows)


def worst_first(results: EvaluationResults) -> list[TaskScores]:
    """Return the tasks by score, those without one at the end."""
    return sorted(results.tasks.values(), key=lambda task: (task.score is None, task.score or 0))


def _task_cells(task: TaskScores) -> list[str]:
    jat, reference = task.jat_normalized, task.reference
    star = " (demonstrations)" if reference and reference.expert_is != "expert" else ""
    return [
        task.name,
        f"{task.return_mean:.2f}",
        "" if task.success is None else f"{task.success:.0%}",
        "none" if reference is None else f"{reference.expert:.2f}{star}",
        "none" if reference is None else f"{reference.random:.2f}",
        "none" if task.score is None else f"{task.score:.2f}{f' {MARK}' if caution(task) else ''}",
        "none" if task.ci95 is None else _range(task.ci95),
        "" if jat is None else f"{jat.mean():.2f}",
        f"{task.length_mean:.0f}",
    ]


def domain_table(results: EvaluationResults) -> Table:
    """Return every domain, and where there are several all of them together."""
    header = ["domain", "tasks", *AGGREGATE_NAMES.values(), "50 %", "80 %", "100 %"]
    rows = [_domain_cells(name, found) for name, found in results.domains.items()]
    if len(rows) > 1 and results.summary:
        rows.append(_domain_cells("all", results.summary))
    return Table(header=header, rows=rows)


def _domain_cells(name: str, found: Summary) -> list[str]:
    numbers = vars(found)
    middle = [
        f"{numbers[f'{kind}_normalized_score']:.2f} ({_range(numbers[f'{kind}_ci95'])})"
        for kind in AGGREGATE_NAMES
    ]
    return [name, str(found.num_tasks), *middle, *map(str, found.tasks_at_or_above.values())]


def type_table(answers: AnswerResults) -> Table:
    """Return the types of question of one source."""
    header = ["question type", "accuracy", "majority of training", "majority of test", "questions"]
    rows = [
        [
            kind,
            f"{found.accuracy:.1%}",
            f"{found.majority:.1%} ({found.majority_answer})",
            f"{found.own_majority:.1%}",
            str(found.questions),
        ]
        for kind, found in answers.scores.per_type.items()
    ]
    return Table(header=header, rows=rows)


def difference_table(differences: Mapping[str, Difference]) -> Table:
    """Return differences between two agents, one a row."""
    header = ["", "first", "second", "change", "95 % interval", "pairs"]
    rows = [
        [
            name,
            f"{found.first:.2f}",
            f"{found.second:.2f}",
            f"{found.change:+.2f}{'*' if found.is_significant else ''}",
            f"{found.interval[0]:+.2f} to {found.interval[1]:+.2f}",
            str(found.pairs),
        ]
        for name, found in differences.items()
    ]
    return Table(header=header, rows=rows)


def facts_table(found: Comparison, names: Sequence[str]) -> Table:
    """Return how both sides of a comparison were measured."""
    one, other = dict(facts(found.first)), dict(facts(found.second))
    rows = [[name, one.get(name, ""), other.get(name, "")] for name in COMPARED_FACTS]
    return Table(header=["", *names], rows=[row for row in rows if any(row[1:])])


def condition_table(found: Ablation) -> Table:
    """Return each task's score under every condition of an ablation."""
    rows = []
    for name, by_condition in found.scores.items():
        cells = ["" if c not in by_condition else _scored(by_condition[c]) for c in CONDITIONS]
        misleads = any(caution(scores) for scores in by_condition.values())
        shown = f"{name} {MARK}" if misleads else name
        rows.append([shown, *cells, found.wrong_tasks.get(name, "")])
    return Table(header=["task", *CONDITIONS, "wrong task was"], rows=rows)


def ablation_cautions(found: Ablation) -> Iterator[str]:
    """Yield what is to be said of each task whose score misleads, and of weights that are gone."""
    for name, by_condition in found.scores.items():
        for condition, scores in by_condition.items():
            if why := caution(scores):
                yield f"{name} {MARK}, {condition}: {why}"
    if stale := staleness(found.agent, found.plan.run):
        yield stale


def _scored(task: TaskScores) -> str:
    assert task.score is not None and task.ci95 is not None, "an ablation holds no others"
    return f"{task.score:.2f} ({_range(task.ci95)})"


def change_table(found: Ablation) -> Table:
    """Return each task's differences between the conditions of an ablation."""
    rows = []
    for name in (*found.scores, "all"):
        changes = [found.differences[pair].get(name) for pair in COMPARED]
        rows.append([name, *("" if change is None else _change(change) for change in changes)])
    header = ["task", *(f"{second} less {first}" for first, second in COMPARED)]
    return Table(header=header, rows=rows)


def _change(found: Difference) -> str:
    low, high = found.interval
    sure = "*" if found.is_significant else ""
    return f"{found.change:+.2f}{sure} ({low:+.2f} to {high:+.2f})"


def headline(results: EvaluationResults) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers that come first: (what, value, beside what)."""
    yield from _aggregates(results)
    for name, where, answers in of_kind(results, AnswerResults):
        yield (
            f"questions answered right{where}",
            f"{answers.scores.accuracy:.1%}",
            f"of {answers.scores.questions} in {name}'s {answers.split} split; "
            f"always the commonest answer: {answers.scores.majority:.1%}",
        )
    for _, where, captions in of_kind(results, CaptionResults):
        old, new = captions.seen, captions.held_out
        yield (
            f"pictures named exactly{where}",
            f"{old.exact_match:.1%}",
            f"of {old.pictures} seen in training (chrF {old.chrf:.0f}, BLEU {old.bleu:.0f}); "
            f"{new.exact_match:.1%} of {new.pictures} never seen (chrF {new.chrf:.0f}, "
            f"BLEU {new.bleu:.0f})",
        )
    for _, where, text in of_kind(results, TextScores):
        yield (
            f"bits per byte of text{where}",
            f"{text.bits_per_byte:.3f}",
            f"held out; bz2 -9: {text.bz2_bits_per_byte:.3f}, "
            f"unigram model: {text.unigram_bits_per_byte:.3f}",
        )


def _aggregates(results: EvaluationResults) -> Iterator[tuple[str, str, str]]:
    if found := results.summary:
        reached, tasks = found.tasks_at_or_above, _counted(found.num_tasks, "task")
        misleading = len(cautions(results))
        on_such = f", {misleading} of them {MARK} on a scale that misleads" if misleading else ""
        yield (
            "mean normalized score",
            f"{found.mean_normalized_score:.2f}",
            f"95 % interval {_range(found.mean_ci95)}; {tasks}{on_such}; "
            f"{reached['0.5']} at 50 %, {reached['0.8']} at 80 %, "
            f"{reached['1.0']} at the expert's level or above; worst "
            f"{found.min_normalized_score:.2f}",
        )
    if found and found.num_tasks > 1:
        yield (
            "inter-quartile mean",
            f"{found.iqm_normalized_score:.2f}",
            f"of the tasks' scores, 95 % interval {_range(found.iqm_ci95)}; median "
            f"{found.median_normalized_score:.2f}",
        )
    if jat := results.jat_summary:
        yield (
            "by JAT's references",
            f"{jat.mean_normalized_score:.2f}",
            f"mean of the {jat.num_tasks} tasks whose published expert and random returns "
            f"compare; inter-quartile mean {jat.iqm_normalized_score:.2f}",
        )


def of_kind(results: EvaluationResults, kind: type[T]) -> list[tuple[str, str, T]]:
    """Return the sources of one kind: (name, how to tell it from others, its results)."""
    found = [(name, one) for name, one in results.sources.items() if isinstance(one, kind)]
    return [(name.partition("?")[0], f": {name}" if len(found) > 1 else "", r) for name, r in found]


def facts(results: EvaluationResults) -> Iterator[tuple[str, str]]:
    """Yield how, on what and from what the numbers came."""
    agent, how = results.agent, results.evaluation
    yield "parameters", f"{agent.parameters / 1e6:.2f} M"
    if agent.fingerprint is not None:
        yield "weights", weights(agent)
    if agent.seconds is not None:
        yield "training", training(agent)
    if agent.ended is not None:
        yield "ended", ENDED[agent.ended]
    first, last = how.seeds
    seeds = f"seeds {first} to {last}"
    yield "episodes", f"{how.episodes} per task, {seeds}, {how.precision}"
    if how.samplings:
        yield "acting", acting(how)
    if measured := [row[1] for row in reference_table(results).rows]:
        yield "references", "; ".join(measured)
    for _, _, captions in of_kind(results, CaptionResults)[:1]:
        signatures = captions.seen.signatures
        yield "captions", f"BLEU {signatures['bleu']}, chrF {signatures['chrf']}"
    yield "evaluation", f"{duration(how.seconds)}, {how.workers} workers"
    yield "all told", duration(results.total_seconds)
    yield from _origin(results.provenance)


def acting(how: EvaluationInfo) -> str:
    """Say how actions were chosen, each way with its tasks where there are several."""
    tasks: dict[str, list[str]] = {}
    for name, sampling in how.samplings.items():
        tasks.setdefault(way(sampling, how.histories.get(name)), []).append(name)
    if len(tasks) == 1:
        return next(iter(tasks))
    return "; ".join(f"{chosen}: {', '.join(names)}" for chosen, names in tasks.items())


def way(sampling: Sampling, history: int | None) -> str:
    """Say how actions are chosen, and from how much of the past where it is limited.

    >>> way(Sampling(temperature=0.5), None), way(Sampling(continuous="mean"), 1)
    ('temperature 0.5', 'temperature 1, mean of the values, history 1')
    """
    heat = f"temperature {sampling.temperature:g}" if sampling.temperature else "greedy"
    nucleus = f", top-p {sampling.top_p:g}" if sampling.top_p < 1 else ""
    taken = "" if sampling.continuous == "sample" else f", {sampling.continuous} of the values"
    seen = "" if history is None else f", history {history}"
    return heat + nucleus + taken + seen


def weights(agent: AgentInfo) -> str:
    """Say which weights were scored."""
    step = "" if agent.steps is None else f" at step {agent.steps:,}"
    written = "" if agent.weights_date is None else f", written {agent.weights_date}"
    return f"sha256 {(agent.fingerprint or '')[:SHOWN_DIGITS]}{step}{written}"


def trained_on(agent: AgentInfo) -> str:
    """Count what an agent was trained on, and name no kind that it was not trained on."""
    kinds = [(len(agent.tasks), "task"), (len(agent.sources), "source")]
    return " and ".join(_counted(count, what) for count, what in kinds if count)


def training(agent: AgentInfo) -> str:
    """Say how far the training came, of what it was allowed.

    >>> training(AgentInfo(seconds=690.2, tokens=3_100_000, steps=912, max_steps=4000,
    ...                    max_seconds=690.0, parameters=1, context_length=1, tasks=(), sources=()))
    '690 s of 690 s, 912 of 4,000 steps, 3.1 M tokens seen'
    """
    allowed_s = "" if agent.max_seconds is None else f" of {agent.max_seconds:,.0f} s"
    allowed = "" if agent.max_steps is None else f" of {agent.max_steps:,}"
    seen = _millions(agent.tokens or 0)
    allowed_tokens = "" if agent.max_tokens is None else f" of {_millions(agent.max_tokens)}"
    skipped = f" ({agent.skipped:,} skipped, not finite)" if agent.skipped else ""
    return (
        f"{agent.seconds or 0:,.0f} s{allowed_s}, {agent.steps:,}{allowed} steps{skipped}, "
        f"{seen}{allowed_tokens} tokens seen"
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number:,}"


def _origin(found: Provenance) -> Iterator[tuple[str, str]]:
    machine = found.machine
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    yield "command", found.command
    yield "machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpu}"
    yield "system", f"{machine['system']}, Python {machine['python']}"
    yield "packages", ", ".join(f"{name} {number}" for name, number in found.versions.items())
    if found.commit:
        yield "commit", found.commit
    yield "date", found.date


def duration(seconds: float) -> str:
    """Write seconds out.

    >>> duration(59.6), duration(754.0)
    ('59.6 s', '12 min 34 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _counted(count: int, what: str) -> str:
    """Write a number of things.

    >>> _counted(1, "task"), _counted(2, "task")
    ('1 task', '2 tasks')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def _range(interval: Interval) -> str:
    low, high = interval
    return f"{low:.2f} to {high:.2f}"
