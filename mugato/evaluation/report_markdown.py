"""The report as Markdown: the numbers, for terminals and code hosts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def report_markdown(data: Mapping[str, Any]) -> str:
    """Write `report_data`'s dictionary as a document."""
    return "\n".join(_lines(data)) + "\n"


def headline(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The numbers that come first: (what, value, beside what)."""
    if summary := data["summary"]:
        reached = summary["tasks_at_or_above"]
        yield (
            "mean normalized score",
            f"{summary['mean_normalized_score']:.2f}",
            f"{summary['num_tasks']} tasks; {reached['0.5']} at 50 %, {reached['0.8']} at 80 %, "
            f"{reached['1.0']} at the expert's level or above; worst {summary['min_normalized_score']:.2f}",
        )
    if vqa := data.get("vqa"):
        yield (
            "questions answered right",
            f"{vqa['accuracy']:.1%}",
            f"{vqa['questions']} of easy-vqa's test split; the commonest answers: {vqa['majority']:.1%}",
        )
    if caption := data.get("caption"):
        yield (
            "pictures named exactly",
            f"{caption['exact_match']:.1%}",
            f"of {caption['pictures']} seen in training; {caption['held_out_exact_match']:.1%} of "
            f"{caption['held_out_pictures']} never seen",
        )
    if text := data.get("text"):
        yield (
            "bits per byte of text",
            f"{text['bits_per_byte']:.3f}",
            f"held-out play; bz2 -9: {text['bz2_bits_per_byte']:.3f}, "
            f"unigram model: {text['unigram_bits_per_byte']:.3f}",
        )


def task_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    """One task as a row: name, return, expert, random, score, interval, mean length."""
    score, ci95 = row["normalized_score"], row["ci95"]
    star = "" if row["expert_is"] == "expert" else " (demonstrations)"
    return [
        name,
        f"{row['return_mean']:.2f}",
        f"{row['expert']:.2f}{star}",
        f"{row['random']:.2f}",
        "none" if score is None else f"{score:.2f}",
        "none" if ci95 is None else f"{ci95[0]:.2f} to {ci95[1]:.2f}",
        f"{row['length_mean']:.0f}",
    ]


TASK_HEADER = ["task", "return", "expert", "random", "normalized", "95 % interval", "length"]


def type_cells(kind: str, row: Mapping[str, Any]) -> list[str]:
    """One question type as a row."""
    return [
        kind,
        f"{row['accuracy']:.1%}",
        f"{row['majority']:.1%} ({row['majority_answer']})",
        f"{row['own_majority']:.1%}",
        str(row["questions"]),
    ]


TYPE_HEADER = ["question type", "accuracy", "majority of training", "majority of test", "questions"]


def facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How, on what and from what the numbers came."""
    train, evaluation, machine = data["train"], data["evaluation"], data["machine"]
    yield "parameters", f"{train['parameters'] / 1e6:.2f} M"
    if train["seconds"] is not None:
        yield (
            "training",
            f"{train['steps']} steps, {train['tokens'] / 1e6:.1f} M tokens, {duration(train['seconds'])}",
        )
    sampling = evaluation["sampling"]
    how = "greedy" if sampling["temperature"] == 0 else f"temperature {sampling['temperature']:g}"
    first, last = evaluation["seeds"]
    yield "episodes", f"{evaluation['episodes']} per task, seeds {first} to {last}, {how}"
    yield "evaluation", f"{duration(evaluation['seconds'])}, {evaluation['workers']} workers"
    yield "all told", duration(data["total_seconds"])
    yield "command", data["command"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    yield "machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpu}"
    yield "system", f"{machine['system']}, Python {machine['python']}"
    yield "packages", ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    if data["commit"]:
        yield "commit", data["commit"]
    yield "date", data["date"]


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(59.6), duration(754)
    ('59.6 s', '12 min 34 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def worst_first(tasks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Tasks by score, those without one at the end."""
    return sorted(
        tasks.items(),
        key=lambda entry: (entry[1]["normalized_score"] is None, entry[1]["normalized_score"] or 0),
    )


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    yield "# What the agent can do"
    yield ""
    for what, value, beside in headline(data):
        yield f"- **{what}: {value}** ({beside})"
    if data["tasks"]:
        yield from _section("Tasks, the worst first")
        yield "0 is what random actions reach and 1 what the expert does, on the same seeds."
        yield ""
        yield from _table(TASK_HEADER, (task_cells(*entry) for entry in worst_first(data["tasks"])))
        videos = [(n, r["video"]) for n, r in data["tasks"].items() if "video" in r]
        if videos:
            links = (f"[{n}]({v['path']}) (return {v['return']:.2f})" for n, v in videos)
            yield from ("", "Videos of one more episode each: " + ", ".join(links) + ".")
    if "vqa" in data:
        yield from _section("Questions")
        rows = (type_cells(*entry) for entry in data["vqa"]["per_type"].items())
        yield from _table(TYPE_HEADER, rows)
    if "text" in data:
        yield from _section("Text")
        for sample in data["text"]["continuations"]:
            yield from ("```", sample["prompt"] + "⟦" + sample["written"] + "⟧", "```", "")
    for title, lines in _remarks(data):
        yield from _section(title)
        yield from (f"- {line}" for line in lines)
    yield from _section("How this was measured")
    yield from (f"- {name}: {value}" for name, value in facts(data))


def _remarks(data: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    if data["problems"]:
        yield "What failed", [f"{name}: {why}" for name, why in data["problems"].items()]
    if data["missing"]:
        yield "What this run does not have", data["missing"]


def _section(title: str) -> Iterator[str]:
    yield from ("", f"## {title}", "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
