"""A training step (forward, backward, AdamW) beside Hugging Face's GPT-2 of the same size.

Rows of 1,024 tokens. `control`: 16 image patches, 7 other observation tokens, separator and action
in each timestep (one token in 25 is a target). `text`: every token is a target. GPT-2 has the same
width, depth, heads and vocabulary, and gets ids in place of patches: it is spared their embedding.
It is measured as it comes, and with its freed memory kept (`MALLOC_*`): its logits are large, and
fresh pages are dear on a virtual machine. mugato has the huge pages that `mugato train` asks for.
Every variant runs in a fresh process; variants take turns; medians, spread and ratios are printed.

    python benchmarks/model.py [--rounds 3] [--sizes micro small] [--precisions bf16 fp32]
                               [--threads 1 2] [--device cpu] [--compile]
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

LENGTH = 1024
PATCHES, OTHERS = 16, 7
TIMESTEP = PATCHES + OTHERS + 2
STEPS, WARM_UP = 5, 3  # the matrix library compiles, memory grows
HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
MEMORY = {
    "gpt2": {},
    "gpt2 kept-memory": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**40),
        **HUGE_PAGES,
    },
}
MODELS = ("gato rotary", "gato transformer-xl", "gpt2", "gpt2 kept-memory")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Tokens per second and peak memory of one variant, in this process."""
    import torch

    from mugato.model.precision import autocast

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    make = _gpt2 if options.model.startswith("gpt2") else _gato
    model, loss = make(options, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    seconds = []
    for _ in range(WARM_UP + STEPS):
        begun = time.perf_counter()
        with autocast(device, options.precision):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds[WARM_UP:])
    tokens_per_s = options.rows * LENGTH / median
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**20
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    num_parameters = sum(p.numel() for p in model.parameters())
    return {"tokens_per_s": tokens_per_s, "memory_mb": memory, "parameters": num_parameters}


def _config(size: str, sequence_model: str) -> Any:
    from mugato.model.config import PAPER_VOCAB, GatoConfig

    config = getattr(GatoConfig, size)(PAPER_VOCAB)
    if size == "micro":  # as measured elsewhere: 4 layers of 256, 8 heads
        config = replace(config, num_heads=8, head_size=32, context_length=LENGTH)
    return replace(config, sequence_model=sequence_model, dropout=0.0, stochastic_depth=0.0)


def _gato(options: argparse.Namespace, device: Any) -> tuple[Any, Callable]:
    from mugato.model.gato import Gato

    config = _config(options.size, options.model.removeprefix("gato "))
    model = Gato(config).to(device).train()
    batch = _batch(options, config).to(device)
    if options.compile:
        model.sequence_model.compile()
    return model, lambda: model(batch).mean()


def _gpt2(options: argparse.Namespace, device: Any) -> tuple[Any, Callable]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = _config(options.size, "rotary")
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab.size,
            n_positions=LENGTH,
            n_embd=config.width,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_inner=config.hidden_size,
            bos_token_id=0,
            eos_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    model = model.to(device).train()
    batch = _batch(options, config).to(device)
    labels = batch.targets.ids.masked_fill(~batch.targets.loss_mask, -100).roll(1, dims=1)
    labels[:, 0] = -100
    if options.compile:
        model.compile()
    return model, lambda: model(input_ids=batch.inputs.ids, labels=labels).loss


def _batch(options: argparse.Namespace, config: Any) -> Any:
    import numpy as np

    from mugato.tokens.images import ImageTokenizer
    from mugato.tokens.packing import pack
    from mugato.tokens.sequence import sequence
    from mugato.tokens.timesteps import Timesteps, TokenizedLeaf, text_timesteps

    generator, vocab, side = np.random.default_rng(0), config.vocab, config.patch_px
    if options.batch == "text":
        texts = generator.integers(0, vocab.num_text, (options.rows, LENGTH))
        return pack([sequence(text_timesteps(ids), vocab) for ids in texts], length=LENGTH)

    num_steps = LENGTH // TIMESTEP
    tiles = generator.integers(0, 256, (options.tiles, 3 * side**2), dtype=np.uint8)

    def leaf(kind: str, tokens: Any, **more: Any) -> TokenizedLeaf:
        lengths = np.full(num_steps, tokens.shape[1])
        return TokenizedLeaf(kind=kind, tokens=tokens, lengths=lengths, **more)

    def episode() -> Timesteps:
        values = generator.integers(vocab.continuous.start, vocab.continuous.stop,
                                    (num_steps, OTHERS, 1))  # fmt: skip
        actions = generator.integers(0, 7, (num_steps, 1, 1)) + vocab.discrete.start
        pictures = tiles[generator.integers(0, len(tiles), (num_steps, PATCHES))]
        intervals = ImageTokenizer(patch_px=side).intervals((4 * side, 4 * side))
        observations = {
            "image": leaf("image", pictures, intervals=intervals),
            "values": leaf("continuous", values),
        }
        return Timesteps(observations=observations, actions={"action": leaf("discrete", actions)})

    return pack([sequence(episode(), vocab) for _ in range(options.rows)], length=LENGTH)


def _run(arguments: list[str]) -> dict[str, float]:
    """One variant in a process of its own, with its way to ask for memory."""
    command = [sys.executable, __file__, "--measure", *arguments]
    environment = {**os.environ, **MEMORY.get(arguments[-1], HUGE_PAGES)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["micro", "small"])
    parser.add_argument("--batches", nargs="+", default=["control", "text"])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--rows", default="2")
    parser.add_argument("--tiles", default="64", help="distinct patches of the control batch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    cases = itertools.product(options.sizes, options.batches, options.precisions, options.threads)
    for size, batch, precision, threads in cases:
        print(
            f"\n{size}, {batch} batch of {options.rows} x {LENGTH}, {precision}, {threads} threads"
        )
        common = ["--size", size, "--batch", batch, "--precision", precision,
                  "--threads", threads, "--rows", options.rows, "--tiles", options.tiles,
                  "--device", options.device]  # fmt: skip
        common += ["--compile"] if options.compile else []
        results: dict[str, list[dict[str, float]]] = {name: [] for name in options.models}
        for _ in range(options.rounds):
            for name in options.models:
                results[name].append(_run([*common, "--model", name]))
        _print(results)


def _print(results: dict[str, list[dict[str, float]]]) -> None:
    speeds = {name: [r["tokens_per_s"] for r in runs] for name, runs in results.items()}
    base = statistics.median(speeds["gpt2"]) if "gpt2" in speeds else None
    for name, values in speeds.items():
        median = statistics.median(values)
        ratio = f"{median / base:6.2f}x" if base else ""
        memory = max(r["memory_mb"] for r in results[name])
        size = results[name][0]["parameters"] / 1e6
        print(
            f"  {name:20} {size:7.1f} M  {median:9,.0f} tokens/s {ratio}  "
            f"({min(values):,.0f}-{max(values):,.0f})  {memory:7,.0f} MB"
        )


def _measure_main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for name in ("size", "batch", "precision", "model", "device"):
        parser.add_argument(f"--{name}")
    for name in ("threads", "rows", "tiles"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--compile", action="store_true")
    print(json.dumps(measure(parser.parse_args(arguments))))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        _measure_main([a for a in sys.argv[1:] if a != "--measure"])
    else:
        main()
