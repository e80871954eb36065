"""How often an agent gets through new mazes, by level and by the length of the shortest way.

Reads what `mugato evaluate RUN --episodes 500` found, draws each episode's maze anew from its seed
and solves it. Shares are those of mazes that were left in time, with Wilson's 95 % intervals; the
ratio is that of the shortest way to the way taken, where the agent came through.

    python benchmarks/mazes.py runs/mazes [--json]
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from mugato.evaluation.results import REPORT
from mugato.system.typed_json import read_json
from mugato.tasks.envs.mazes import Mazes
from mugato.tasks.experts.mazes import solve

LENGTHS = (10, 20, 30, 45, 60, 90)  # the last shortest way that counts to each row


@dataclass(frozen=True, kw_only=True)
class Played:
    """One maze, as the report tells of it.

    Attributes:
        steps: taken; 0 where the agent did not come through.
    """

    level: str
    shortest: int
    steps: int


def played(report: Mapping[str, Any]) -> Iterator[Played]:
    """Solve the mazes of a report."""
    for name, task in report["tasks"].items():
        if task["domain"] != "mazes":
            continue
        level = name.removeprefix("mazes-")
        env = Mazes(level)
        for seed, reward in enumerate(task["returns"], start=task["seeds"][0]):
            env.reset(seed=seed)
            maze, position = env.playing
            way = solve(maze, position, random.Random(seed))
            assert way is not None  # whatever cannot be solved is drawn again
            steps = round((1 - reward) * maze.max_steps / 0.9) if reward > 0 else 0
            yield Played(level=level, shortest=len(way), steps=steps)


def row(found: Sequence[Played]) -> dict[str, float]:
    """Return share, interval, mean shortest way and ratio of some mazes."""
    through = [one for one in found if one.steps]
    interval = binomtest(len(through), len(found)).proportion_ci(method="wilson")
    return {
        "mazes": len(found),
        "share": len(through) / len(found),
        "low": interval.low,
        "high": interval.high,
        "shortest": sum(one.shortest for one in found) / len(found),
        "ratio": sum(one.shortest / one.steps for one in through) / max(1, len(through)),
    }


def rows(found: Sequence[Played]) -> dict[str, dict[str, float]]:
    """Return a row for each level, and one for each range of lengths."""
    groups: dict[str, list[Played]] = {}
    for one in found:
        last = next(length for length in LENGTHS if one.shortest <= length)
        for name in (one.level, f"shortest way up to {last}"):
            groups.setdefault(name, []).append(one)
    lengths = [f"shortest way up to {length}" for length in LENGTHS]
    ordered = [*(name for name in groups if name not in lengths), *lengths]
    return {name: row(groups[name]) for name in ordered if name in groups}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", action="store_true", help="print numbers for a program")
    arguments = parser.parse_args()
    table = rows(list(played(read_json(arguments.run / REPORT))))
    if arguments.json:
        print(json.dumps(table, indent=2))
        return
    print(
        "| | mazes | came through | mean shortest way | shortest / taken |\n|---|---|---|---|---|"
    )
    for name, one in table.items():
        share = f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
        print(f"| {name} | {one['mazes']} | {share} | {one['shortest']:.0f} | {one['ratio']:.2f} |")


if __name__ == "__main__":
    main()
