"""Training steps on a GPU: tokens/s, memory and share of the card's peak, beside GPT-2.

All in one process, for starting one takes longer than measuring: sizes, batches (see `model.py`),
eager and compiled. FLOPs are 6 for each weight that multiplies and token, the head's for targets
alone, and 12 · width · length / 2 for a layer's causal attention; where GPT-2 scores all places it
is given only the FLOPs of the targets too. A table is printed, and numbers go to FILE.

    python benchmarks/gpu.py [--sizes micro small baseline] [--compiled small baseline]
                             [--out results/h200.json] [--device cpu --tiny]
"""

import argparse
import gc
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from model import LENGTH, _gato, _gpt2

from mugato.model.precision import autocast
from mugato.system.machine import describe_machine, git_commit
from mugato.training.estimate import multiplying_weights

ROWS = {"micro": 32, "small": 16, "baseline": 16, "large": 6}
PEAK = 989e12  # of a Hopper card's dense bf16
WARM_UP, STEPS = 3, 10


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time one variant: forward, backward and AdamW under bf16."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    make = _gpt2 if options.model == "gpt2" else _gato
    with device:  # fresh weights of `large` take a processor half a minute
        model, loss = make(options, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with autocast(device, "bf16"):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    begun = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    _wait(device)
    warm = time.perf_counter()
    for _ in range(STEPS):
        step()
    _wait(device)
    seconds = (time.perf_counter() - warm) / STEPS
    tokens = options.rows * LENGTH
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return {
        "tokens_per_s": tokens / seconds,
        "ms": 1000 * seconds,
        "gib": memory,
        "warm_up_s": warm - begun,
        "peak": flops(model, options) * tokens / seconds / PEAK,
    }


def flops(model: torch.nn.Module, options: argparse.Namespace) -> float:
    """Count a token's, forward and backward."""
    config: Any = model.config
    width = getattr(config, "width", None) or config.n_embd
    layers = getattr(config, "num_layers", None) or config.n_layer
    inside: Any = model
    blocks = multiplying_weights(getattr(model, "sequence_model", None) or inside.transformer.h)
    vocab = next(p.shape[0] for n, p in model.named_parameters() if "table" in n or "wte" in n)
    share = 1.0 if options.batch == "text" else 1 / 25
    head = share * vocab * width
    return 6.0 * (blocks + head) + 6.0 * layers * width * LENGTH


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["micro", "small", "baseline", "large"])
    parser.add_argument("--models", nargs="+", default=["rotary", "gpt2"])
    parser.add_argument("--compiled", nargs="*", default=["small", "baseline"], help="sizes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="one row, to see that it runs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = [(size, False) for size in options.sizes] + [(size, True) for size in options.compiled]
    found: list[dict[str, Any]] = []
    for (size, compiled), batch, model in itertools.product(
        cases, ("control", "text"), options.models
    ):
        case = argparse.Namespace(
            model=model if model == "gpt2" else f"gato {model}", size=size, batch=batch,
            compile=compiled, tiles=64, rows=1 if options.tiny else ROWS[size],
            device=options.device,
        )  # fmt: skip
        row = {"size": size, "batch": batch, "model": model, "compiled": compiled}
        try:
            row |= measure(case)
            print(
                f"{size:9s} {batch:8s} {model:12s} {'compiled' if compiled else '':9s}"
                f"{row['tokens_per_s'] / 1000:9,.0f} k tokens/s {row['ms']:8.1f} ms "
                f"{row['gib']:6.1f} GiB {row['peak']:6.1%} of peak, first steps "
                f"{row['warm_up_s']:.0f} s",
                flush=True,
            )
        except Exception as error:  # the others shall still be measured
            row["error"] = repr(error)[:500]
            print(f"{size} {batch} {model} compiled={compiled}: {row['error']}", flush=True)
        found.append(row)
        if options.out:
            write(options.out, found)
        gc.collect()
        torch.compiler.reset()
        if options.device == "cuda":
            torch.cuda.empty_cache()


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write what was measured so far."""
    about = {"machine": describe_machine(), "commit": git_commit(), "torch": torch.__version__}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
