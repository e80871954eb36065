"""How many tokens a recipe takes to learn what another has learned: the demo's data, fixed seeds.

Every recipe trains the demo's agent. On the way the loss on data held out is written down for each
of its sources, in nats a target, on windows that are the same whatever the recipe: of the control
tasks on demonstrations of their own seeds, recorded when they are missing; of texts and questions
on the splits for tuning, so that no recipe is chosen by what scores are measured on. The captions
are those of the training pictures: remembering them is what the demo asks for. What is evaluated is
the agent that the run would have kept at that moment; the time that takes does not count.

    python benchmarks/speedrun.py --recipes baseline demo --seeds 0 1 2 --tokens 3_000_000 --jobs 2
    python benchmarks/speedrun.py --recipes demo --set optimizer.lr=1e-3 --name lr-1e-3
    python benchmarks/speedrun.py                     # the table and the curves of what is there
    python benchmarks/speedrun.py --returns 20        # play as well, on seeds for tuning
    python benchmarks/speedrun.py --store             # the reference's runs become the stored ones

Printed are, for each source, the median over seeds of the last loss, and the share of the
reference's tokens after which the median curve is below the loss that the reference ended with, for
good. The reference is the stored one (`speedrun_baseline.json`), or that of the runs that
`--reference` names. A run that was stopped goes on; one that is done is only read.
"""

import argparse
import dataclasses
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mugato.agent import Agent
from mugato.data.cache import MemoryBudget
from mugato.data.config import DatasetConfig
from mugato.data.formats.minari.read import open_minari
from mugato.data.registry import open_source
from mugato.data.source import Source
from mugato.data.windows import WindowConfig, windows_of
from mugato.model.config import GatoConfig
from mugato.system.machine import describe_machine, git_commit
from mugato.tokens.batch import Batch
from mugato.tokens.tokenizer import Tokenizer
from mugato.training import setup
from mugato.training.checkpoint import STATE, TrainingProgress, read_progress
from mugato.training.config import TokenizerConfig, TrainConfig
from mugato.training.distributed import DistributedContext
from mugato.training.held_out import HeldOut, few_batches
from mugato.training.loop import Watch, run_training
from mugato.training.optimizer import OptimizerConfig
from mugato.training.presets import DEMO_DATASETS, preset
from mugato.training.run_folder import claimed, fields, used_up
from mugato.training.run_info import is_task, read_config

FOLDER = Path("runs/speedrun")
STORED = Path(__file__).with_name("speedrun_baseline.json")
CURVE, DONE, LOG, RETURNS = "curve.jsonl", "done.json", "log.txt", "returns.json"
# Demonstrations held out; their seeds are far beyond those of any training data.
HELD_OUT_EPISODES, HELD_OUT_SEED = 100, 900_000
HELD_OUT_SPLITS = {"shakespeare": "validation", "factbook": "validation", "easy-vqa": "validation"}
TUNING_SEED = 2_000_000  # `mugato tune` begins at 1,000,000
# What may differ between the call that began a run and the one that goes on or reads it.
INESSENTIAL = ("run", "log_every", "save_every", "processes", "workers", "precision", "compile")

Curve = Sequence[Mapping[str, Any]]
Recipe = Callable[[TrainConfig], TrainConfig]

# The demo at bb57b81, written out so that it stays what it was.
BASELINE_WEIGHTS = {
    "babyai-go-to-red-ball-no-dists": 0.02, "babyai-go-to-obj": 0.04, "babyai-go-to-local": 0.15,
    "babyai-open-door": 0.075, "minigrid-four-rooms": 0.11, "pointmaze-umaze": 0.04,
    "cartpole": 0.01, "lunar-lander-continuous": 0.125, "metaworld-coffee-button": 0.02,
    "metaworld-drawer-close": 0.02, "shakespeare": 0.045, "factbook": 0.005, "emoji": 0.045,
    "easy-vqa": 0.285,
}  # fmt: skip
BASELINE_HISTORY = {
    "pointmaze-umaze": 1, "cartpole": 1, "lunar-lander-continuous": 1,
    "metaworld-coffee-button": 1, "metaworld-drawer-close": 1,
}  # fmt: skip


def baseline(config: TrainConfig) -> TrainConfig:
    """Return the demo as it was at bb57b81: the paper's AdamW with a cosine to a tenth."""
    return TrainConfig(
        datasets=tuple(
            DatasetConfig(
                name=name,
                weight=weight,
                history=BASELINE_HISTORY.get(name),
                split="by-type" if name == "easy-vqa" else "train",
            )
            for name, weight in BASELINE_WEIGHTS.items()
        ),
        prompt_share=0.0,
        model=dataclasses.replace(GatoConfig.micro(), output_projection=False),
        tokenizer=TokenizerConfig(text_pieces=8192, max_patches=16),
        optimizer=OptimizerConfig(lr=6e-4, warmup_steps=100),
        batch_rows=16,
        steps=1,
    )


def demo(config: TrainConfig) -> TrainConfig:
    """Return the demo as it is now."""
    return config


def with_(*changes: str, recipe: Recipe = baseline) -> Recipe:
    """Change fields of a recipe, NAME=JSON each: `with_("optimizer.muon_lr_factor=2")`."""
    return lambda config: changed(recipe(config), changes)


RECIPES: dict[str, Recipe] = {
    "baseline": baseline,
    "demo": demo,
    "muon": with_("optimizer.muon_lr_factor=2"),
    "rows-4": with_("batch_rows=4"),
}


def changed(config: TrainConfig, changes: Sequence[str]) -> TrainConfig:
    """Return a configuration with some fields changed, NAME=JSON each; data sets by their names.

    Raises:
        ValueError: for a field that is not there, or a value that it cannot have.
    """
    data = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    for change in changes:
        name, equals, value = change.partition("=")
        *path, last = name.split(".")
        place = data
        for key in path:
            place = place.get(key) if isinstance(place, dict) else _named(place, key)
        if not equals or not isinstance(place, dict) or last not in place:
            raise ValueError(f"not NAME=VALUE of a field of the configuration: {change!r}")
        try:
            place[last] = json.loads(value)
        except json.JSONDecodeError:
            place[last] = value
    return TrainConfig.from_json(data, "--set")


def _named(rows: Any, name: str) -> dict[str, Any] | None:
    return next((row for row in rows or () if row["name"] == name), None)


# ---- Held-out data -------------------------------------------------------------------------------


def held_out_id(task: str) -> str:
    """Return the Minari id of a task's demonstrations that no agent is trained on."""
    return f"mugato/{task}/held-out-v0"


def record_held_out(datasets: Sequence[DatasetConfig], *, workers: int) -> None:
    """Record the held-out demonstrations that are missing."""
    from mugato.recording.recorder import RecordConfig, record
    from mugato.recording.store import is_recorded

    for task in (dataset.name for dataset in datasets if is_task(dataset)):
        if not is_recorded(held_out_id(task)):
            print(f"recording {HELD_OUT_EPISODES} held-out demonstrations of {task} ...")
            record(
                task,
                RecordConfig(
                    dataset=held_out_id(task), episodes=HELD_OUT_EPISODES,
                    first_seed=HELD_OUT_SEED, workers=workers,
                ),
            )  # fmt: skip


def held_out_sources(datasets: Sequence[DatasetConfig]) -> dict[str, Source]:
    """Open what is evaluated on, by the names of the data sets."""
    budget, found = MemoryBudget(), dict[str, Source]()
    for dataset in datasets:
        name = dataset.name
        if is_task(dataset):
            found[name] = open_minari(held_out_id(name), budget=budget)
        else:
            found[name] = open_source(name, HELD_OUT_SPLITS.get(name, dataset.split), budget)
    return found


def held_out_batches(
    config: TrainConfig, sources: Mapping[str, Source], tokenizer: Tokenizer
) -> dict[str, list[Batch]]:
    """Make the same few batches of each source, whatever the recipe."""
    length, found = config.model.context_length, {}
    history = {dataset.name: dataset.history for dataset in DEMO_DATASETS}
    for dataset in config.datasets:
        name = dataset.name
        cut = WindowConfig(context_length=length, name=name, history=history.get(name))
        windows = windows_of(sources[name], tokenizer, cut)
        found[name] = few_batches(windows, row_length=length, seed=7)
    return found


def fingerprint(batches: Mapping[str, Sequence[Batch]]) -> int:
    """Return a number that differs where the batches do: losses on others are not comparable."""
    found = 0
    for name, ours in batches.items():
        found = zlib.crc32(name.encode(), found)
        for batch in ours:
            for tensor in (batch.inputs.ids, batch.inputs.patches, batch.targets.loss_mask):
                found = zlib.crc32(tensor.numpy().tobytes(), found)
    return found


# ---- One run -------------------------------------------------------------------------------------


def configuration(options: argparse.Namespace, recipe: str, seed: int) -> TrainConfig:
    """Return what one run is asked to do."""
    config = changed(RECIPES[recipe](preset("demo")), options.set)
    places = config.batch_rows * config.model.context_length
    return dataclasses.replace(
        config, run=FOLDER / (options.name or recipe) / str(seed), seed=seed,
        max_tokens=options.tokens, steps=None, max_seconds=None, processes=1,
        log_every=max(1, min(10, options.every // (4 * places))),
        save_every=max(1, options.every // places),
    )  # fmt: skip


def differences(config: TrainConfig) -> list[str]:
    """Tell in what a run that is there differs from what is asked for."""
    saved, asked = dict(fields(read_config(config.run))), dict(fields(config))
    names = [n for n in {**saved, **asked} if n.partition(".")[0] not in INESSENTIAL]
    return [
        f"{n} was {saved.get(n)}, not {asked.get(n)}" for n in names if saved.get(n) != asked.get(n)
    ]


def train(config: TrainConfig, *, every: int) -> None:
    """Train one recipe with one seed, or go on with it, and write its curve."""
    cuda = torch.cuda.is_available()
    context = DistributedContext(device=torch.device("cuda" if cuda else "cpu"))
    sources, held_out = setup.open_sources(config.datasets), held_out_sources(config.datasets)
    curve, resume = config.run / CURVE, (config.run / STATE).exists()
    tokenizer = setup.tokenizer_of(config, sources, resume=resume)
    batches = held_out_batches(config, held_out, tokenizer)
    scored = HeldOut(batches=batches)
    agent = setup.make_agent(config, sources, tokenizer)
    mixture = setup.make_mixture(config, sources, tokenizer)
    config.run.mkdir(parents=True, exist_ok=True)

    def note(progress: TrainingProgress, model: nn.Module) -> None:
        row = {"tokens": progress.tokens, "seconds": progress.seconds, "step": progress.step}
        begun = time.perf_counter()
        row["losses"] = scored.losses(model, context.device, "fp32")
        with curve.open("a") as file:
            file.write(json.dumps(row) + "\n")
        mean, took = statistics.fmean(row["losses"].values()), time.perf_counter() - begun
        print(
            f"{progress.tokens:,} tokens, {progress.seconds:,.0f} s: mean loss {mean:.3f} "
            f"(evaluated in {took:.1f} s)",
            flush=True,
        )

    points = 0
    if resume:
        points = read_progress(config.run).tokens // every
    else:
        curve.unlink(missing_ok=True)
        note(TrainingProgress(microbatches=mixture.start()), agent.model.to(context.device))

    def watch(progress: TrainingProgress, model: nn.Module) -> None:
        nonlocal points
        if progress.tokens // every > points:
            points = progress.tokens // every
            note(progress, model)

    if not (resume and used_up(read_progress(config.run), config)):
        with claimed(config, resume=resume, overwrite=False):
            run_training(
                config, agent, mixture, context, resume=resume, watch=Watch(on_acting=watch)
            )
    progress = read_progress(config.run)
    if progress.fraction(config) < 1:
        sys.exit(1)  # interrupted: it goes on at the next call
    kept = Agent.from_pretrained(config.run, device=context.device)
    note(progress, kept.model)
    done = {"parameters": kept.model.num_parameters, "evaluation": fingerprint(batches)}
    (config.run / DONE).write_text(json.dumps(done))


def run_all(options: argparse.Namespace) -> None:
    """Run what is not done yet, several at once, each in a process of its own.

    Raises:
        ValueError: for a run that is there but was begun otherwise.
    """
    waiting = []
    for seed in options.seeds:
        for recipe in options.recipes:
            config = configuration(options, recipe, seed)
            if (config.run / STATE).exists() and (found := differences(config)):
                raise ValueError(f"{config.run} holds another run: {'; '.join(found)}")
            if not (config.run / DONE).exists():
                waiting.append((recipe, seed, config))
    if waiting:
        record_held_out(waiting[0][2].datasets, workers=options.jobs)
    running: dict[Path, subprocess.Popen] = {}
    environment, failed = {**os.environ, "OMP_NUM_THREADS": "1"}, list[Path]()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                recipe, seed, config = waiting.pop(0)
                command = [sys.executable, __file__, "--one", "--recipes", recipe]
                command += ["--seeds", str(seed), "--tokens", str(options.tokens)]
                command += ["--every", str(options.every), "--name", options.name or recipe]
                command += ["--set", *options.set] if options.set else []
                config.run.mkdir(parents=True, exist_ok=True)
                print(f"training {config.run} ...", flush=True)
                with (config.run / LOG).open("a") as log:
                    running[config.run] = subprocess.Popen(
                        command, env=environment, stdout=log, stderr=subprocess.STDOUT
                    )
            time.sleep(0.5)
            for run in [run for run, process in running.items() if process.poll() is not None]:
                if running.pop(run).returncode:
                    failed.append(run)
    finally:
        for process in running.values():
            process.terminate()  # it ends its step and saves
        for process in running.values():
            process.wait()
    if failed:
        sys.exit(f"not finished: {', '.join(str(run / LOG) for run in failed)} tell why")


# ---- Returns -------------------------------------------------------------------------------------


def play(run: Path, episodes: int, *, workers: int) -> dict[str, Any]:
    """Return the agent's scores: of tasks on seeds for tuning, of sources on splits for tuning."""
    from mugato.acting.batch_policy import InferenceConfig
    from mugato.evaluation.evaluate import task_scores
    from mugato.evaluation.jobs import episode_jobs, episodes_of, run_episode_jobs
    from mugato.evaluation.references import tabled_reference
    from mugato.tasks.registry import TASKS

    path = run / RETURNS
    if path.exists() and (found := json.loads(path.read_text()))["episodes"] == episodes:
        return found
    agent = Agent.from_pretrained(run)
    tasks = [TASKS[name] for name in agent.tasks if name in TASKS]
    seeds = range(TUNING_SEED, TUNING_SEED + episodes)
    jobs = episode_jobs(agent, run, tasks, seeds, InferenceConfig(precision="fp32"))
    outcomes = run_episode_jobs(jobs, workers=workers, environment={})
    known = {task.name: tabled_reference(task, seeds) for task in tasks}
    scores, problems = task_scores(tasks, episodes_of(outcomes), known)
    found = {
        "episodes": episodes,
        "tasks": {name: score.score for name, score in scores.items()},
        "sources": {n: _said(agent, n) for n in agent.tasks if n not in TASKS},
        "problems": problems,
    }
    path.write_text(json.dumps(found))
    return found


def _said(agent: Agent, name: str) -> dict[str, float]:
    from mugato.acting.batch_policy import InferenceConfig
    from mugato.data.metrics import AnswerMetric, CaptionMetric, TextMetric
    from mugato.evaluation import language
    from mugato.evaluation.text import score_text

    inference = InferenceConfig(precision="fp32")
    training = open_source(name, "train")
    source = open_source(name, HELD_OUT_SPLITS.get(name, "train"))
    speaker = language.Speaker(agent=agent, name=name)
    match source.metric:
        case AnswerMetric() as metric:
            answers = language.score_answers(speaker, metric, source, training, "tuning").scores
            types = {str(kind): score.accuracy for kind, score in answers.per_type.items()}
            return {"accuracy": answers.accuracy, **types}
        case CaptionMetric() as metric:
            seen = language.spread(len(source), language.MAX_SEEN)
            expected = [str(next(iter(source[i].actions.values()))[0]) for i in seen]
            return {"exact": metric.score(expected, speaker.texts(source, seen)).exact_match}
        case TextMetric():
            text = score_text(agent, source, training, inference=inference)
            return {"bits per byte": text.bits_per_byte}
    return {}


# ---- Arithmetic ----------------------------------------------------------------------------------


def read_curve(run: Path) -> list[dict[str, Any]]:
    """Read a run's curve; a run that was killed may have gone back, the later points count."""
    rows = [json.loads(line) for line in (run / CURVE).read_text().splitlines()]
    kept: list[dict[str, Any]] = []
    for row in rows:
        kept = [r for r in kept if r["tokens"] < row["tokens"]]
        kept.append(row)
    return kept


def reached(curve: Curve, source: str, target: float, *, by: str = "tokens") -> float | None:
    """Return after how many tokens a source's loss is at a target for good, between the points.

    >>> curve = [{"tokens": t, "losses": {"text": x}} for t, x in [(100, 4.0), (200, 2.0)]]
    >>> reached(curve, "text", 3.0), reached(curve, "text", 1.0)
    (150.0, None)
    """
    found = None
    for before, after in zip([None, *curve], curve, strict=False):
        loss = after["losses"][source]
        if loss > target:
            found = None
        elif found is None and before is None:
            found = float(after[by])
        elif found is None and before is not None:
            above = before["losses"][source]
            share = (above - target) / (above - loss)
            found = before[by] + share * (after[by] - before[by])
    return found


def median_curve(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return the median over seeds, at the points of the first, between those of the others."""
    tokens = [point["tokens"] for point in curves[0]]
    names = list(curves[0][0]["losses"])

    def median(value: Callable[[Mapping[str, Any]], float]) -> list[float]:
        rows = [
            np.interp(tokens, [p["tokens"] for p in curve], [value(p) for p in curve])
            for curve in curves
        ]
        return np.median(rows, axis=0).tolist()

    seconds = median(lambda point: point["seconds"])
    found = {name: median(lambda point, name=name: point["losses"][name]) for name in names}
    return [
        {"tokens": t, "seconds": s, "losses": {name: found[name][i] for name in names}}
        for i, (t, s) in enumerate(zip(tokens, seconds, strict=True))
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """All finished runs of one recipe.

    Attributes:
        curve: the median over seeds.
        seeds: how many.
        ends: of each source the last losses, one for each seed.
        evaluation: what was evaluated on, as a number.
    """

    curve: Curve
    seeds: int
    ends: Mapping[str, Sequence[float]]
    evaluation: int

    @staticmethod
    def of(curves: Sequence[Curve], evaluation: int = 0) -> "Runs":
        names = curves[0][-1]["losses"]
        ends = {name: [curve[-1]["losses"][name] for curve in curves] for name in names}
        return Runs(curve=median_curve(curves), seeds=len(curves), ends=ends, evaluation=evaluation)


def compare(runs: Runs, reference: Runs, *, by: str = "tokens") -> dict[str, float | None]:
    """Return the tokens (or seconds) to the reference's last losses, over all of its own."""
    last = reference.curve[-1]
    found = {s: reached(runs.curve, s, loss, by=by) for s, loss in last["losses"].items()}
    return {s: None if tokens is None else tokens / last[by] for s, tokens in found.items()}


def halves(ratios: Mapping[str, float | None]) -> int:
    """Count the sources that took half as much or less."""
    return sum(ratio is not None and ratio <= 0.5 for ratio in ratios.values())


def table(all_runs: Mapping[str, Runs], reference: Runs) -> Iterator[str]:
    """Yield the lines of a Markdown table: last loss (least to most), share of the tokens."""
    tokens = {name: compare(runs, reference) for name, runs in all_runs.items()}
    seconds = {name: compare(runs, reference, by="seconds") for name, runs in all_runs.items()}
    yield (
        "| source | target | "
        + " | ".join(f"{name} ({runs.seeds} seeds)" for name, runs in all_runs.items())
        + " |"
    )
    yield "|---" * (len(all_runs) + 2) + "|"
    for source, target in reference.curve[-1]["losses"].items():
        cells = [f"{target:.3f}"]
        for name, runs in all_runs.items():
            ratio, ends = tokens[name][source], runs.ends[source]
            share = "not reached" if ratio is None else f"{ratio:.2f}×"
            spread = f" ({min(ends):.3f}-{max(ends):.3f})" if runs.seeds > 1 else ""
            cells.append(f"{statistics.median(ends):.3f}{spread}, {share}")
        yield f"| {source} | " + " | ".join(cells) + " |"
    for what, ratios in (("tokens", tokens), ("seconds", seconds)):
        cells = [str(halves(found)) for found in ratios.values()]
        yield f"| **at half the {what} or less** | | " + " | ".join(cells) + " |"
    ends = [runs.curve[-1] for runs in all_runs.values()]
    cells = [f"{end['tokens'] / 1e6:.2f} M, {end['seconds']:,.0f} s" for end in ends]
    last = reference.curve[-1]
    total = f"{last['tokens'] / 1e6:.2f} M, {last['seconds']:,.0f} s"
    yield f"| tokens and seconds in all | {total} | " + " | ".join(cells) + " |"


# ---- What is there -------------------------------------------------------------------------------


def read_runs() -> dict[str, Runs]:
    """Read all recipes of which a run is finished."""
    found = {}
    for folder in sorted(FOLDER.glob("*")):
        done = [path.parent for path in sorted(folder.glob(f"*/{DONE}"))]
        if done:
            seen = {json.loads((run / DONE).read_text())["evaluation"] for run in done}
            if len(seen) > 1:
                raise ValueError(f"the runs in {folder} were evaluated on different data")
            found[folder.name] = Runs.of([read_curve(run) for run in done], seen.pop())
    return found


def read_stored() -> Runs | None:
    """Read the stored reference, if there is one."""
    if not STORED.exists():
        return None
    stored = json.loads(STORED.read_text("utf-8"))
    return Runs(**{field.name: stored[field.name] for field in dataclasses.fields(Runs)})


def store(name: str, runs: Runs) -> None:
    """Keep a recipe's runs as the reference of those to come, with where they come from."""
    machine, command = describe_machine(), f"python {shlex.join(sys.argv)}"
    origin = {"recipe": name, "commit": git_commit(), "machine": machine, "command": command}
    text = json.dumps({**origin, **dataclasses.asdict(runs)}, indent=1)
    STORED.write_text(text + "\n", "utf-8")
    print(f"stored in {STORED}")


def draw(all_runs: Mapping[str, Runs], reference: Runs, path: Path) -> None:
    """Draw every source's loss over the tokens, and the loss that is to be reached."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    targets = reference.curve[-1]["losses"]
    figure, axes = pyplot.subplots(3, -(-len(targets) // 3), figsize=(16, 9), sharex=True)
    for axis, (source, target) in zip(axes.flat, targets.items(), strict=False):
        for name, runs in all_runs.items():
            axis.plot(
                [p["tokens"] / 1e6 for p in runs.curve],
                [p["losses"][source] for p in runs.curve],
                marker=".", label=name,
            )  # fmt: skip
        axis.axhline(target, color="black", linestyle=":", linewidth=1)
        axis.set_title(source, fontsize=9)
        axis.set_yscale("log")
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("tokens (M)")
    figure.supylabel("held-out loss (nats a target)")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def show(options: argparse.Namespace) -> None:
    """Print the table of what is there, and draw its curves."""
    all_runs = read_runs()
    if options.store:
        name = options.reference or "baseline"
        if name not in all_runs:
            raise ValueError(f"no finished run of {name!r} in {FOLDER}")
        store(name, all_runs[name])
    stored = None if options.reference else read_stored()
    reference = stored or all_runs.get(options.reference or "baseline")
    if options.reference and reference is None:
        raise ValueError(f"no finished run of {options.reference!r} in {FOLDER}")
    if reference is None or not all_runs:
        print(f"no finished runs in {FOLDER} to compare: name --recipes, baseline among them")
        return
    for name, runs in all_runs.items():
        if runs.evaluation != reference.evaluation:
            print(f"Warning: {name} was evaluated on other tokens than the reference was")
    returns = {
        str(path.parent.relative_to(FOLDER)): play(
            path.parent, options.returns, workers=options.jobs
        )
        for path in (sorted(FOLDER.glob(f"*/*/{DONE}")) if options.returns else ())
        if not options.recipes or path.parent.parent.name in (options.name, *options.recipes)
    }
    draw(all_runs, reference, FOLDER / "curves.svg")
    if options.json:
        print(json.dumps(as_json(all_runs, reference, returns), indent=1))
        return
    print("\n".join(table(all_runs, reference)))
    for run, found in returns.items():
        mean = statistics.fmean(score for score in found["tasks"].values() if score is not None)
        print(f"{run}: mean return {mean:.3f} {json.dumps(found)}")
    print(f"curves: {FOLDER / 'curves.svg'}")


def as_json(
    all_runs: Mapping[str, Runs], reference: Runs, returns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all numbers of the table, and the curves."""
    recipes = {}
    for name, runs in all_runs.items():
        tokens, seconds = compare(runs, reference), compare(runs, reference, by="seconds")
        recipes[name] = {
            **dataclasses.asdict(runs),
            "tokens_ratio": tokens,
            "seconds_ratio": seconds,
            "at_half_the_tokens": halves(tokens),
            "at_half_the_seconds": halves(seconds),
        }
    return {"targets": reference.curve[-1]["losses"], "recipes": recipes, "returns": returns}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = lambda text: int(float(text))  # noqa: E731  3e6 or 3_000_000
    parser.add_argument("--recipes", nargs="*", default=[], choices=RECIPES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--tokens", type=number, default=3_000_000, help="budget of each run")
    parser.add_argument("--every", type=number, default=250_000, help="tokens between evaluations")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--set", nargs="*", default=[], help="fields, NAME=JSON; takes --name")
    parser.add_argument("--name", help="what a changed recipe is called")
    parser.add_argument("--reference", help="whose losses are the targets; the stored ones if none")
    parser.add_argument("--store", action="store_true", help="store the reference's losses")
    parser.add_argument("--returns", type=int, default=0, help="episodes of each task to play")
    parser.add_argument("--json", action="store_true", help="print numbers for a program")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (bool(options.set) and not options.name) or (options.name and len(options.recipes) != 1):
        parser.error("--set takes --name, and --name one recipe")
    if options.one:
        torch.set_num_threads(1)
        config = configuration(options, options.recipes[0], options.seeds[0])
        train(config, every=options.every)
        return
    try:
        run_all(options)
        show(options)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
