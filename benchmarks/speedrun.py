"""How many tokens a recipe takes to learn what another has learned: the demo's data, fixed seeds.

Every recipe trains the demo's agent on the same demonstrations, of which one in twenty is held out,
and the same texts, pictures and questions. On the way the loss on held-out data is written down for
each of the sources, in nats a target; the emoji's captions are those of trained pictures, which is
what is asked of them. Printed are, for each source, the tokens a recipe took to the loss that the
baseline ended with, beside the baseline's own; medians over seeds.

    python benchmarks/speedrun.py --recipes baseline demo --seeds 0 1 2 --tokens 3e6 --jobs 2
    python benchmarks/speedrun.py --recipes demo --set optimizer.lr=1e-3 --name lr-1e-3 --tokens 3e6
    python benchmarks/speedrun.py                       # the table and the curves of what is there
    python benchmarks/speedrun.py --returns 20          # play as well, on seeds for tuning

A run that was stopped goes on; one that is done is only read.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mugato.data.cache import MemoryBudget
from mugato.data.mixture import Mixture
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.data.windows import WindowConfig, windows_of
from mugato.episode import Episode
from mugato.model.gato import Gato
from mugato.tokens.batch import Batch
from mugato.tokens.tokenizer import Tokenizer
from mugato.training import setup
from mugato.training.checkpoint import STATE
from mugato.training.config import TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.loop import run_training
from mugato.training.metrics import StepReport
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import preset
from mugato.training.run_info import is_task

FOLDER = Path("runs/speedrun")
CURVE, DONE = "curve.jsonl", "done.json"
HELD_OUT = 20  # one demonstration in so many
HELD_OUT_SPLITS = {"shakespeare": "test", "factbook": "test", "easy-vqa": "test"}
BATCHES = 6  # of held-out data of each source
ROWS = 8
POINTS = 16  # of a curve

Curve = Sequence[Mapping[str, Any]]


def baseline(config: TrainConfig) -> TrainConfig:
    """Return the demo as it was at bb57b81: the paper's AdamW with a cosine to a tenth."""
    optimizer = OptimizerConfig(lr=6e-4, warmup_steps=100)
    model = dataclasses.replace(config.model, output_projection=False)
    return dataclasses.replace(
        config, optimizer=optimizer, model=model, batch_rows=16, balance=0.0, history_dropout=0.0
    )


def demo(config: TrainConfig) -> TrainConfig:
    """Return the demo as it is now."""
    return config


RECIPES: dict[str, Callable[[TrainConfig], TrainConfig]] = {"baseline": baseline, "demo": demo}


class Part(Source):
    """Some episodes of a source."""

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.name, self.spec = source.name, source.spec
        self.lengths = None if source.lengths is None else np.asarray(source.lengths)[indices]
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Episode:
        return self._source[int(self._indices[index])]

    def window(self, index: int, start: int, stop: int) -> Episode:
        return self._source.window(int(self._indices[index]), start, stop)


def split(config: TrainConfig) -> tuple[dict[str, Source], dict[str, Source]]:
    """Open all sources: what is trained on, and what is held out."""
    train, held_out = setup.open_sources(config.datasets), {}
    for dataset in config.datasets:
        name, source = dataset.name, train[dataset.name]
        if is_task(dataset):
            order = np.random.default_rng(0).permutation(len(source))
            held_out[name] = Part(source, np.sort(order[::HELD_OUT]))
            train[name] = Part(source, np.sort(np.delete(order, np.s_[::HELD_OUT])))
        elif name in HELD_OUT_SPLITS:
            held_out[name] = open_source(name, HELD_OUT_SPLITS[name], MemoryBudget())
        else:
            held_out[name] = source
    return train, held_out


def held_out_batches(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> dict[str, list[Batch]]:
    """Make the same few batches of each source, whatever the recipe."""
    length, found = config.model.context_length, {}
    for number, dataset in enumerate(config.datasets):
        cut = WindowConfig(
            context_length=length, number=number, name=dataset.name, history=dataset.history
        )
        windows = windows_of(sources[dataset.name], tokenizer, cut)
        mixture = Mixture(
            [windows],
            weights="uniform",
            num_rows=ROWS,
            row_length=length,
            num_microbatches=1,
            seed=7,
        )
        (state,), batches = mixture.start(), []
        for _ in range(BATCHES):
            batch, state = mixture.batch(0, state)
            batches.append(batch)
        found[dataset.name] = batches
    return found


@torch.inference_mode()
def losses(model: Gato, batches: Mapping[str, Sequence[Batch]]) -> dict[str, float]:
    """Return the mean loss on each source's batches, in nats a target."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    found = {
        name: float(torch.cat([model(batch.to(device)).values for batch in ours]).mean())
        for name, ours in batches.items()
    }
    model.train(was_training)
    return found


def train(config: TrainConfig) -> None:
    """Train one recipe with one seed, or go on with it, and write its curve."""
    sources, held_out = split(config)
    tokenizer = setup.make_tokenizer(config.tokenizer, config.model, sources)
    agent = setup.make_agent(config, sources, tokenizer)
    mixture = setup.make_mixture(config, sources, tokenizer)
    batches = held_out_batches(config, held_out, tokenizer)
    assert config.max_tokens is not None
    curve, every = config.run / CURVE, config.max_tokens / POINTS
    resume = (config.run / STATE).exists()
    last = read_curve(config.run)[-1]["tokens"] if resume and curve.exists() else 0

    def note(report: StepReport) -> None:
        nonlocal last
        if report.tokens >= last + every:
            last = report.tokens
            row = {"tokens": report.tokens, "seconds": report.seconds, "speed": report.tokens_per_s}
            with curve.open("a") as file:
                file.write(json.dumps({**row, "losses": losses(agent.model, batches)}) + "\n")

    progress = run_training(
        config, agent, mixture, DistributedContext(), resume=resume, on_report=note
    )
    row = {"tokens": progress.tokens, "seconds": progress.seconds}
    row["losses"] = losses(agent.model, batches)
    with curve.open("a") as file:
        file.write(json.dumps(row) + "\n")
    if progress.fraction(config) >= 1:
        (config.run / DONE).write_text(json.dumps({"parameters": agent.model.num_parameters}))


def play(run: Path, episodes: int) -> dict[str, float]:
    """Return the normalised score of each task on seeds for tuning, and every source's."""
    from mugato.evaluation.config import EvaluationConfig
    from mugato.evaluation.evaluate import evaluate

    config = EvaluationConfig(episodes=episodes, first_seed=2_000_000, workers=1, videos=False)
    results = evaluate(run, config)
    return {name: float(np.mean(task.normalized())) for name, task in results.tasks.items()}


def read_curve(run: Path) -> list[dict[str, Any]]:
    """Read a run's curve; a run that was killed may have gone back, the later points count."""
    rows = [json.loads(line) for line in (run / CURVE).read_text().splitlines()]
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept = [r for r in kept if r["tokens"] < row["tokens"]]
        kept.append(row)
    return kept


def tokens_to(curve: Curve, source: str, target: float) -> float | None:
    """Return after how many tokens a source's loss is at a target for good, between the points.

    >>> curve = [{"tokens": t, "losses": {"text": x}} for t, x in [(100, 4.0), (200, 2.0)]]
    >>> tokens_to(curve, "text", 3.0), tokens_to(curve, "text", 1.0)
    (150.0, None)
    """
    reached = None
    for before, after in zip([None, *curve], curve, strict=False):
        loss = after["losses"][source]
        if loss > target:
            reached = None
        elif reached is None and before is None:
            reached = float(after["tokens"])
        elif reached is None and before is not None:
            above = before["losses"][source]
            share = (above - target) / (above - loss)
            reached = before["tokens"] + share * (after["tokens"] - before["tokens"])
    return reached


def median_curve(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return the median over seeds at each point; all of a recipe have the same points."""
    rows = []
    for points in zip(*curves, strict=False):
        names = points[0]["losses"]
        rows.append(
            {
                "tokens": statistics.median(p["tokens"] for p in points),
                "seconds": statistics.median(p["seconds"] for p in points),
                "losses": {n: statistics.median(p["losses"][n] for p in points) for n in names},
            }
        )
    return rows


def compare(curves: Mapping[str, Curve], reference: str) -> dict[str, dict[str, float | None]]:
    """Return each recipe's tokens to the reference's last losses, over the reference's own."""
    last = curves[reference][-1]
    return {
        recipe: {
            source: None if (found := tokens_to(curve, source, target)) is None
            else found / last["tokens"]
            for source, target in last["losses"].items()
        }
        for recipe, curve in curves.items()
    }  # fmt: skip


def table(curves: Mapping[str, Curve], seeds: Mapping[str, int], reference: str) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    ratios = compare(curves, reference)
    yield "| source | " + " | ".join(f"{r} ({seeds[r]} seeds)" for r in curves) + " |"
    yield "|---" * (len(curves) + 1) + "|"
    for source in curves[reference][-1]["losses"]:
        cells = []
        for recipe, curve in curves.items():
            ratio = ratios[recipe][source]
            reached = "not reached" if ratio is None else f"{ratio:.2f}"
            cells.append(f"{curve[-1]['losses'][source]:.3f}, {reached}")
        yield f"| {source} | " + " | ".join(cells) + " |"
    halves = [
        str(sum(ratio is not None and ratio <= 0.5 for ratio in ratios[r].values())) for r in curves
    ]
    yield "| **at half the tokens or less** | " + " | ".join(halves) + " |"
    ends = [f"{c[-1]['tokens'] / 1e6:.2f} M, {c[-1]['seconds']:,.0f} s" for c in curves.values()]
    yield "| tokens and seconds in all | " + " | ".join(ends) + " |"


def draw(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw every source's loss over the tokens."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sources = list(next(iter(curves.values()))[-1]["losses"])
    figure, axes = pyplot.subplots(3, -(-len(sources) // 3), figsize=(16, 9), sharex=True)
    for axis, source in zip(axes.flat, sources, strict=False):
        for recipe, curve in curves.items():
            axis.plot(
                [p["tokens"] / 1e6 for p in curve], [p["losses"][source] for p in curve],
                marker=".", label=recipe,
            )  # fmt: skip
        axis.set_title(source, fontsize=9)
        axis.set_yscale("log")
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("tokens (M)")
    figure.supylabel("held-out loss (nats a target)")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def replaced(config: Any, name: str, value: Any) -> Any:
    """Return a configuration with one field changed, named as its flag is."""
    head, _, rest = name.partition(".")
    return dataclasses.replace(
        config, **{head: replaced(getattr(config, head), rest, value) if rest else value}
    )


def configuration(options: argparse.Namespace, recipe: str, seed: int) -> TrainConfig:
    """Return what one run is asked to do."""
    config = RECIPES[recipe](preset("demo"))
    for change in options.set:
        name, _, value = change.partition("=")
        config = replaced(config, name, json.loads(value))
    return dataclasses.replace(
        config, run=FOLDER / (options.name or recipe) / str(seed), seed=seed,
        max_tokens=int(float(options.tokens)), steps=None, max_seconds=None, processes=1,
    )  # fmt: skip


def run_all(options: argparse.Namespace) -> None:
    """Run what is not done yet, several at once, each in a process of its own."""
    waiting = [
        (recipe, seed)
        for seed in options.seeds
        for recipe in options.recipes
        if not (configuration(options, recipe, seed).run / DONE).exists()
    ]
    running: list[subprocess.Popen] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    while waiting or running:
        while waiting and len(running) < options.jobs:
            recipe, seed = waiting.pop(0)
            arguments = ["--one", recipe, str(seed), "--tokens", options.tokens]
            arguments += ["--set", *options.set] if options.set else []
            arguments += ["--name", options.name] if options.name else []
            print(f"{recipe} with seed {seed} ...", flush=True)
            command = [sys.executable, __file__, *arguments]
            running.append(subprocess.Popen(command, env=environment))
        for process in running:
            try:
                if process.wait(timeout=1):
                    sys.exit(process.returncode)
            except subprocess.TimeoutExpired:
                continue
        running = [process for process in running if process.poll() is None]


def show(options: argparse.Namespace) -> None:
    """Print the table of what is there, and draw its curves."""
    curves: dict[str, Curve] = {}
    seeds: dict[str, int] = {}
    for folder in sorted(FOLDER.glob("*")):
        done = [run for run in sorted(folder.glob("*")) if (run / DONE).exists()]
        if done:
            curves[folder.name] = median_curve([read_curve(run) for run in done])
            seeds[folder.name] = len(done)
    if options.reference not in curves:
        print(f"no finished run of {options.reference!r} in {FOLDER}: name --recipes and --tokens")
        return
    print("\n".join(table(curves, seeds, options.reference)))
    draw(curves, FOLDER / "curves.svg")
    print(f"curves: {FOLDER / 'curves.svg'}")
    if options.returns:
        for name in curves:
            for run in sorted((FOLDER / name).glob("*/done.json")):
                scores = play(run.parent, options.returns)
                mean = statistics.fmean(scores.values())
                print(f"{run.parent}: mean {mean:.3f} {json.dumps(scores)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="*", default=[], choices=RECIPES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--tokens", default="3e6", help="budget of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument(
        "--set", nargs="*", default=[], help="fields of the configuration, NAME=JSON"
    )
    parser.add_argument("--name", help="what a changed recipe is called")
    parser.add_argument("--reference", default="baseline", help="whose losses are the targets")
    parser.add_argument("--returns", type=int, default=0, help="episodes of each task to play")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        torch.set_num_threads(1)
        train(configuration(options, options.one[0], int(options.one[1])))
        return
    run_all(options)
    show(options)


if __name__ == "__main__":
    main()
