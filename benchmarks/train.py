"""A whole training, data included, beside a GPT-2 of the same size in Hugging Face's Trainer.

Both read the same rows of the demo's mixture, on all cores. `mugato`: `mugato train --preset demo`.
`gpt2`: width, depth, heads and vocabulary of the same, an id in place of each patch (it is spared
their embedding), labels where mugato has targets, AdamW, the Trainer's own loop and loader. Each is
a fresh process; they take turns. Tokens are those that are no padding, and the first part of each
run is left out. Then, in one process, the share of a step that is neither forward, backward nor
optimiser: waiting for data, sums over processes, reports.

    python benchmarks/train.py [--rounds 3] [--seconds 60] [--sources emoji easy-vqa]
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIANTS = ("mugato", "gpt2")
LEFT_OUT = 0.4  # of each run: data is read for the first time, memory grows


def demo_config(options: argparse.Namespace, run: str, **changes: Any) -> Any:
    """Return the demo's configuration for so many seconds."""
    from mugato.training.presets import preset

    config = preset("demo")
    datasets = config.datasets
    if options.sources:
        datasets = tuple(one for one in datasets if one.name in options.sources)
    return dataclasses.replace(
        config, run=Path(run), datasets=datasets, max_seconds=options.seconds, **changes
    )


def measure_mugato(options: argparse.Namespace) -> float:
    """Return tokens per second of the later part of a run."""
    from mugato.training.metrics import read_metrics
    from mugato.training.run import train_part

    with tempfile.TemporaryDirectory() as folder:
        train_part(demo_config(options, folder, log_every=5), overwrite=True)
        reports = read_metrics(Path(folder))
    last = reports[-1]
    early = next(r for r in reports if r is last or r["seconds"] > LEFT_OUT * options.seconds)
    return (last["tokens"] - early["tokens"]) / (last["seconds"] - early["seconds"])


def measure_gpt2(options: argparse.Namespace) -> float:
    """Return the same of Hugging Face's Trainer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
    from transformers.trainer_callback import TrainerCallback

    from mugato.model.precision import wants_bf16
    from mugato.training import setup

    config = demo_config(options, "unused", microbatches=1)
    sources = setup.open_sources(config.datasets)
    tokenizer = setup.tokenizer_of(config, sources, resume=False)
    mixture = setup.make_mixture(config, sources, tokenizer)
    sizes = config.model
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=tokenizer.vocab.size, n_positions=sizes.context_length, n_embd=sizes.width,
        n_layer=sizes.num_layers, n_head=sizes.num_heads, n_inner=sizes.hidden_size,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    ))  # fmt: skip

    class Rows(torch.utils.data.IterableDataset):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            (state,) = mixture.start()
            while True:
                batch, state = mixture.batch(0, state)
                inputs, targets = batch.inputs, batch.targets
                seen.append(int((inputs.segments > 0).sum()))
                # The Trainer's models shift labels themselves.
                labels = targets.ids.masked_fill(~targets.loss_mask, -100).roll(1, dims=1)
                labels[:, 0] = -100
                for ids, row in zip(inputs.ids, labels, strict=True):
                    yield {"input_ids": ids, "labels": row}

    seen: list[int] = []
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            times.append(time.perf_counter())
            control.should_training_stop = times[-1] - begun > options.seconds
            return control

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, max_steps=10**6, per_device_train_batch_size=config.batch_rows,
            use_cpu=True, bf16=wants_bf16("auto", torch.device("cpu")), report_to=[],
            save_strategy="no", logging_steps=50, disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=Rows(), callbacks=[Clock()])
        begun = time.perf_counter()
        trainer.train()
    first = next(i for i, t in enumerate(times) if t - begun > LEFT_OUT * options.seconds)
    return sum(seen[first + 1 : len(times)]) / (times[-1] - times[first])


def measure_outside(options: argparse.Namespace) -> float:
    """Return the share of a run's time that is not spent on the model and its optimiser."""
    from mugato.training.loop import _TrainingRun
    from mugato.training.run import train_part

    spent = {"steps": 0.0, "first": 0.0, "last": 0.0}
    step = _TrainingRun._step

    def timed(self: Any, *arguments: Any) -> Any:
        begun = time.perf_counter()
        result = step(self, *arguments)
        ended = time.perf_counter()
        if begun - start > LEFT_OUT * options.seconds:
            spent["first"] = spent["first"] or begun
            spent["last"], spent["steps"] = ended, spent["steps"] + ended - begun
        return result

    setattr(_TrainingRun, "_step", timed)  # noqa: B010
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train_part(demo_config(options, folder, processes=1), overwrite=True)
    return 1 - spent["steps"] / (spent["last"] - spent["first"])


MEASURES = {"mugato": measure_mugato, "gpt2": measure_gpt2, "outside": measure_outside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sources", nargs="*")
    parser.add_argument("--variant", choices=MEASURES)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(MEASURES[options.variant](options)))
        return
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name in VARIANTS:
            found[name].append(in_fresh_process(name))
    base = statistics.median(found["gpt2"])
    for name, values in found.items():
        median = statistics.median(values)
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:8} {median:8,.0f} tokens/s  {median / base:5.2f}x  ({spread})")
    print(f"outside of model and optimiser, one process: {in_fresh_process('outside'):.1%}")


def in_fresh_process(variant: str) -> float:
    """Measure where nothing was measured before."""
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1"} if variant != "gpt2" else os.environ
    command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
