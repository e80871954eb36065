"""Milliseconds per environment step, beside a full pass at every token and Hugging Face's GPT-2.

A timestep holds 16 image patches and 8 other observation tokens, the separator, and 1 or 4 action
tokens (each one of 1,024 bins); every step is taken with a full context of 1,024 tokens, through
`Policy.select_action`, from pixels and numbers to actions.

- naive: the same model reads the whole context anew for every action token, in the precision in
  which it trains quickest here; one pass is timed, and counted as often as there are action tokens.
- GPT-2: `GPT2LMHeadModel` of the same width, depth, heads and vocabulary with `past_key_values`, in
  bf16 or fp32, whichever is quicker. It gets ids in place of patches (it is spared their
  embedding) and computes its whole head for the last token only, as `generate` does.

All take turns in one process; medians. `floor` is the time in which the weights that one decoded
token needs can be read at the memory bandwidth measured in the same run.

    python benchmarks/act.py [--quick] [--sizes micro small] [--threads 1 2] [--rows 1 16]
                             [--device cpu] [--precision auto] [--steps 10000]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

CONTEXT = 1024
PATCHES, OTHERS = 16, 8
OBSERVED = PATCHES + OTHERS + 1
ACTIONS = (1, 4)
# Rounds in which all ways take turns: no fewer than this, and no new one after so many seconds.
MIN_REPEATS, SECONDS = 3, 15.0
# Sizes and their sequence models; "small" as the paper has it, and with rotary attention.
MODELS = {
    "micro": ("micro", "rotary"),
    "small": ("small", "transformer-xl"),
    "small-rotary": ("small", "rotary"),
    "large": ("large", "transformer-xl"),
}


def make_agent(name: str, device: str) -> Any:
    import numpy as np
    import torch
    from gymnasium import spaces

    from mugato.agent import Agent, AgentTask
    from mugato.model.config import PAPER_VOCAB, GatoConfig
    from mugato.model.gato import Gato
    from mugato.spec import spec_of
    from mugato.tokens.tokenizer import Tokenizer

    size, sequence_model = MODELS[name]
    config = replace(
        getattr(GatoConfig, size)(PAPER_VOCAB),
        context_length=CONTEXT,
        sequence_model=sequence_model,
        dropout=0.0,
        stochastic_depth=0.0,
    )
    torch.manual_seed(0)
    model = Gato(config).to(device).eval()
    observation = spaces.Dict(
        image=spaces.Box(0, 255, (64, 64, 3), np.uint8), values=spaces.Box(-1, 1, (OTHERS,))
    )
    actions = {f"{n}": spaces.Box(-1, 1, (n,)) for n in ACTIONS}
    tasks = {n: AgentTask(spec=spec_of(observation, action)) for n, action in actions.items()}
    # Nothing is written or read here, so a tokenizer's number of pieces is all that is needed.
    text: Any = SimpleNamespace(num_pieces=PAPER_VOCAB.num_text)
    return Agent(model=model, tokenizer=Tokenizer(text=text, vocab=PAPER_VOCAB), tasks=tasks)


class Acting:
    """The agent in an environment that shows noise: every patch is new."""

    def __init__(self, agent: Any, actions: int, rows: int, precision: str) -> None:
        import numpy as np

        from mugato.acting.batch_policy import BatchPolicy, InferenceConfig

        self.rows, self.generator = rows, np.random.default_rng(0)
        task = str(actions)
        inference = InferenceConfig(precision=precision)  # type: ignore
        self.policy = BatchPolicy(agent, task=task, num_rows=rows, inference=inference)
        for _ in range(CONTEXT // (OBSERVED + actions) + 2):
            self()

    def __call__(self) -> None:
        import numpy as np

        images = self.generator.integers(0, 256, (self.rows, 64, 64, 3), dtype=np.uint8)
        values = self.generator.uniform(-1, 1, (self.rows, OTHERS)).astype(np.float32)
        self.policy.select_action({"image": images, "values": values})


def naive_pass(agent: Any, rows: int, precision: str) -> Callable[[], None]:
    """One pass over the whole context for one action token of each row."""
    import numpy as np
    import torch

    from mugato.episode import Episode
    from mugato.model.precision import autocast
    from mugato.tokens.packing import pack
    from mugato.tokens.sequence import encode

    generator = np.random.default_rng(0)
    number = CONTEXT // (OBSERVED + 1)
    observations = {
        "image": generator.integers(0, 256, (number, 64, 64, 3), dtype=np.uint8),
        "values": generator.uniform(-1, 1, (number, OTHERS)).astype(np.float32),
    }
    actions = {"action": generator.uniform(-1, 1, (number, 1)).astype(np.float32)}
    episode = Episode(observations=observations, actions=actions)
    s = encode(episode, agent.spec("1"), agent.tokenizer)
    device = agent.model.embedding.table.weight.device
    batch = pack([s] * rows, length=CONTEXT).to(device)
    legal = agent.tokenizer.vocab.continuous

    @torch.inference_mode()
    def run() -> None:
        with autocast(device, precision):  # type: ignore
            hidden = agent.model.hidden(batch.inputs)[0][:, len(s) - 1]
            agent.model.logits(hidden.float(), legal).argmax(-1)

    return run


def gpt2_step(agent: Any, actions: int, rows: int, dtype: Any) -> Callable[[], None]:
    """One environment step of GPT-2: read the observation, decode actions, forget both again."""
    import torch
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

    c = agent.model.config
    device = agent.model.embedding.table.weight.device
    config = GPT2Config(
        vocab_size=c.vocab.size,
        n_positions=CONTEXT,
        n_embd=c.width,
        n_layer=c.num_layers,
        n_head=c.num_heads,
        n_inner=c.hidden_size,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).to(device, dtype).eval()
    before = CONTEXT - OBSERVED - actions
    # The last step's last action is read with the observation, as ours is.
    observed = torch.randint(0, c.vocab.size, (rows, OBSERVED + 1), device=device)
    cache = DynamicCache(config=config)
    # What the past was does not matter to the time that it takes to read it.
    past = torch.randn(2, rows, c.num_heads, before, c.width // c.num_heads, device=device).to(
        dtype
    )
    for layer in range(c.num_layers):
        cache.update(past[0].clone(), past[1].clone(), layer)

    @torch.inference_mode()
    def run() -> None:
        ids = observed
        for _ in range(actions):
            logits = model(ids, past_key_values=cache, logits_to_keep=1).logits
            ids = logits.argmax(-1)
        cache.crop(-(OBSERVED + actions))  # negative: so many are forgotten

    return run


def timed(run: Callable[[], object], device: str) -> float:
    import torch

    begun = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begun)


def bandwidth(device: str) -> float:
    """Bytes per millisecond at which memory is read."""
    import torch

    numbers = torch.ones(64 * 2**20, device=device)
    numbers.sum()
    return numbers.nbytes / min(timed(lambda: numbers.sum().item(), device) for _ in range(9))


def needed_bytes(agent: Any, precision: str) -> int:
    """Bytes of the weights that one decoded token needs: the blocks, and the legal rows."""
    from mugato.model.precision import inference_weights

    model = agent.model.sequence_model
    stored = next(inference_weights(model, precision).parameters())  # type: ignore
    blocks = sum(p.numel() for n, p in model.named_parameters() if "relative" not in n)
    legal = len(agent.tokenizer.vocab.continuous) * agent.model.config.width
    return blocks * stored.itemsize + legal * agent.model.embedding.table.weight.itemsize


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every way for one size and number of rows, in this process."""
    import torch

    torch.set_num_threads(options.threads)
    agent = make_agent(options.size, options.device)
    dtype = _quicker_dtype(agent, options)
    ways: dict[str, Callable[[], None]] = {}
    for n in ACTIONS:
        ways[f"mugato {n}"] = Acting(agent, n, options.rows, options.precision)
        ways[f"gpt2 {n}"] = gpt2_step(agent, n, options.rows, dtype)
        ways[f"gpt2 {n}"]()  # the first one compiles
    times: dict[str, list[float]] = {name: [] for name in ways}
    begun = time.perf_counter()
    for repeat in range(options.repeats):
        if repeat < MIN_REPEATS or time.perf_counter() - begun < SECONDS:
            for name, run in ways.items():
                times[name] += [timed(run, options.device) for _ in range(3)]
    naive = naive_pass(agent, options.rows, options.precision)
    passes = 1 if options.rows > 1 else 4  # the first of few is no slower than the noise
    times["naive"] = [timed(naive, options.device) for _ in range(passes)]
    result: dict[str, Any] = {name: statistics.median(values) for name, values in times.items()}
    result["floor"] = needed_bytes(agent, options.precision) / bandwidth(options.device)
    if options.steps:
        result["late"] = _late(agent, options)
    return result


def _quicker_dtype(agent: Any, options: argparse.Namespace) -> Any:
    """In which GPT-2 is quicker."""
    import torch

    seconds = {}
    for dtype in (torch.bfloat16, torch.float32):
        run = gpt2_step(agent, 1, options.rows, dtype)
        seconds[dtype] = min(timed(run, options.device) for _ in range(4))
    return min(seconds, key=lambda dtype: seconds[dtype])


def _late(agent: Any, options: argparse.Namespace) -> tuple[float, float]:
    """Medians of the steps before a fifth of all steps, and of the last ones."""
    act = Acting(agent, 1, options.rows, options.precision)
    times = [timed(act, options.device) for _ in range(options.steps)]
    fifth, window = options.steps // 5, options.steps // 20
    first, last = times[fifth - window : fifth], times[-window:]
    return statistics.median(first), statistics.median(last)


def _run(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _print_rows(name: str, threads: str, rows: str, r: dict[str, Any]) -> None:
    extra = (r["mugato 4"] - r["mugato 1"]) / 3
    for n in ACTIONS:
        ours, gpt2, naive = r[f"mugato {n}"], r[f"gpt2 {n}"], n * r["naive"]
        print(
            f"| {name} | {threads} | {rows} | {n} | **{ours:.1f}** | "
            f"{naive:,.0f} = {naive / ours:.0f}× | {gpt2:.1f} = {gpt2 / ours:.1f}× | "
            f"{extra:.1f} / {r['floor']:.1f} = {extra / r['floor']:.1f}× |",
            flush=True,
        )


def _machine(device: str) -> str:
    import torch

    from mugato.system.machine import describe_machine, git_commit

    machine = describe_machine()
    where = machine["gpu"] if device == "cuda" else f"{machine['cores']} cores of {machine['cpu']}"
    return f"{where}; PyTorch {torch.__version__}; commit {(git_commit() or 'unknown')[:7]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=list(MODELS))
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    parser.add_argument("--rows", nargs="+", default=["1", "16"])
    parser.add_argument("--repeats", default="7", help="rounds of 3 steps each")
    parser.add_argument("--steps", default="10000", help="of micro, for step 10,000 beside 2,000")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--quick", action="store_true", help="one thread, one row, 500 steps")
    options = parser.parse_args()
    if options.quick:
        options.threads, options.rows, options.steps = ["1"], ["1"], "500"
    large = ["large"] if options.device == "cuda" else []
    sizes = options.sizes or ["micro", "small", *large]
    print(_machine(options.device) + "\n")
    print(
        "| size | threads | rows | action tokens | ms a step | naive | GPT-2 | each more / floor |"
    )
    print("|---|---|---|---|---|---|---|---|")
    late = ""
    for name in sizes:
        for rows in options.rows:
            for threads in options.threads:
                long = name == "micro" and rows == "1" and threads == options.threads[0]
                steps = options.steps if long else "0"
                common = ["--size", name, "--threads", threads, "--rows", rows, "--steps", steps]
                common += ["--repeats", options.repeats, "--device", options.device]
                result = _run([*common, "--precision", options.precision])
                _print_rows(name, threads, rows, result)
                if long:
                    first, last = result["late"]
                    late = (
                        f"\nmicro: a step takes {first:.2f} ms about step {int(steps) // 5:,} and "
                        f"{last:.2f} ms about step {int(steps):,}: {last / first - 1:+.1%}"
                    )
    print(late)


def _measure_main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for name in ("size", "device", "precision"):
        parser.add_argument(f"--{name}")
    for name in ("threads", "rows", "repeats", "steps"):
        parser.add_argument(f"--{name}", type=int)
    print(json.dumps(measure(parser.parse_args(arguments))))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        _measure_main([a for a in sys.argv[1:] if a != "--measure"])
    else:
        main()
