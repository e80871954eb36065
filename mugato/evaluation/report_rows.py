"""The report's numbers in words and rows, the same on the page and in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

TASK_HEADER = ["task", "return", "expert", "random", "normalized", "95 % interval", "length"]
TYPE_HEADER = ["question type", "accuracy", "majority of training", "majority of test", "questions"]


def headline(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The numbers that come first: (what, value, beside what)."""
    if summary := data["summary"]:
        reached = summary["tasks_at_or_above"]
        yield (
            "mean normalized score",
            f"{summary['mean_normalized_score']:.2f}",
            f"{summary['num_tasks']} tasks; {reached['0.5']} at 50 %, {reached['0.8']} at 80 %, "
            f"{reached['1.0']} at the expert's level or above; worst "
            f"{summary['min_normalized_score']:.2f}",
        )
    if vqa := data.get("vqa"):
        yield (
            "questions answered right",
            f"{vqa['accuracy']:.1%}",
            f"of {vqa['questions']} in easy-vqa's test split; always the commonest answer: "
            f"{vqa['majority']:.1%}",
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


def type_cells(kind: str, row: Mapping[str, Any]) -> list[str]:
    """One question type as a row."""
    return [
        kind,
        f"{row['accuracy']:.1%}",
        f"{row['majority']:.1%} ({row['majority_answer']})",
        f"{row['own_majority']:.1%}",
        str(row["questions"]),
    ]


def facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How, on what and from what the numbers came."""
    train, evaluation, machine = data["train"], data["evaluation"], data["machine"]
    yield "parameters", f"{train['parameters'] / 1e6:.2f} M"
    if train["seconds"] is not None:
        yield (
            "training",
            f"{train['steps']} steps, {train['tokens'] / 1e6:.1f} M tokens, "
            f"{duration(train['seconds'])}",
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

    >>> duration(59.6), duration(754.0)
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
