"""The report's numbers in words and rows, the same on the page and in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

TASK_HEADER = [
    "task", "return", "success", "expert", "random", "normalized", "95 % interval", "by JAT's",
    "length",
]  # fmt: skip
DOMAIN_HEADER = [
    "domain",
    "tasks",
    "mean",
    "median",
    "inter-quartile mean",
    "50 %",
    "80 %",
    "100 %",
]
TYPE_HEADER = ["question type", "accuracy", "majority of training", "majority of test", "questions"]


def headline(data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The numbers that come first: (what, value, beside what)."""
    if summary := data["summary"]:
        reached = summary["tasks_at_or_above"]
        low, high = summary["mean_ci95"]
        yield (
            "mean normalized score",
            f"{summary['mean_normalized_score']:.2f}",
            f"95 % interval {low:.2f} to {high:.2f}; {summary['num_tasks']} tasks; "
            f"{reached['0.5']} at 50 %, {reached['0.8']} at 80 %, "
            f"{reached['1.0']} at the expert's level or above; worst "
            f"{summary['min_normalized_score']:.2f}",
        )
        low, high = summary["iqm_ci95"]
        yield (
            "inter-quartile mean",
            f"{summary['iqm_normalized_score']:.2f}",
            f"of the tasks' scores, 95 % interval {low:.2f} to {high:.2f}; median "
            f"{summary['median_normalized_score']:.2f}",
        )
    if jat := data["jat_summary"]:
        yield (
            "by JAT's references",
            f"{jat['mean_normalized_score']:.2f}",
            f"mean of the {jat['num_tasks']} tasks whose published expert and random returns "
            f"compare; inter-quartile mean {jat['iqm_normalized_score']:.2f}",
        )
    if vqa := data.get("vqa"):
        yield (
            "questions answered right",
            f"{vqa['accuracy']:.1%}",
            f"of {vqa['questions']} in easy-vqa's test split; always the commonest answer: "
            f"{vqa['majority']:.1%}",
        )
    if caption := data.get("caption"):
        new = caption["held_out"]
        yield (
            "pictures named exactly",
            f"{caption['exact_match']:.1%}",
            f"of {caption['pictures']} seen in training (chrF {caption['chrf']:.0f}, BLEU "
            f"{caption['bleu']:.0f}); {new['exact_match']:.1%} of {new['pictures']} never "
            f"seen (chrF {new['chrf']:.0f}, BLEU {new['bleu']:.0f})",
        )
    if text := data.get("text"):
        yield (
            "bits per byte of text",
            f"{text['bits_per_byte']:.3f}",
            f"held-out play; bz2 -9: {text['bz2_bits_per_byte']:.3f}, "
            f"unigram model: {text['unigram_bits_per_byte']:.3f}",
        )


def task_cells(name: str, row: Mapping[str, Any]) -> list[str]:
    """One task as a row, under `TASK_HEADER`."""
    score, ci95, success = row["normalized_score"], row["ci95"], row["success"]
    star = "" if row["expert_is"] == "expert" else " (demonstrations)"
    return [
        name,
        f"{row['return_mean']:.2f}",
        "" if success is None else f"{success:.0%}",
        f"{row['expert']:.2f}{star}",
        f"{row['random']:.2f}",
        "none" if score is None else f"{score:.2f}",
        "none" if ci95 is None else f"{ci95[0]:.2f} to {ci95[1]:.2f}",
        "" if row["jat"] is None else f"{row['jat']['normalized_score']:.2f}",
        f"{row['length_mean']:.0f}",
    ]


def domain_cells(name: str, found: Mapping[str, Any]) -> list[str]:
    """One domain as a row, under `DOMAIN_HEADER`."""
    middle = [
        f"{found[f'{kind}_normalized_score']:.2f} "
        f"({found[f'{kind}_ci95'][0]:.2f} to {found[f'{kind}_ci95'][1]:.2f})"
        for kind in ("mean", "median", "iqm")
    ]
    reached = [str(count) for count in found["tasks_at_or_above"].values()]
    return [name, str(found["num_tasks"]), *middle, *reached]


def domain_rows(data: Mapping[str, Any]) -> Iterator[list[str]]:
    """Every domain, and where there are several all of them together."""
    yield from (domain_cells(name, found) for name, found in data["domains"].items() if found)
    if len(data["domains"]) > 1 and data["summary"]:
        yield domain_cells("all", data["summary"])


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
    how = f"{how}, {evaluation['precision']}"
    yield "episodes", f"{evaluation['episodes']} per task, seeds {first} to {last}, {how}"
    measured = dict.fromkeys(row["references"] for row in data["tasks"].values())
    if measured:
        yield "references", "; ".join(measured)
    if caption := data.get("caption"):
        signatures = caption["signatures"]
        yield "captions", f"BLEU {signatures['bleu']}, chrF {signatures['chrf']}"
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
