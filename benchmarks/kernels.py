"""What a training step asks of a GPU, counted where there is none: kernels, waits, graphs.

On tensors without values (the "meta" device) the model takes the way it takes on a GPU, and
whatever would have to wait for a value is an error: that these passes run says that they wait
nowhere. All is in fp32; autocast would add casts.
Counted are the operations of a forward and a backward pass and of clipping that are no mere views,
each about one kernel where nothing is compiled; and the graphs that `torch.compile` makes of the
sequence model. The optimiser and what the training loop itself asks for come on top.

    python benchmarks/kernels.py [--sizes micro small baseline] [--batches control text]
"""

import argparse
from collections import Counter
from typing import Any

import torch
from model import _batch, _config
from torch.utils._python_dispatch import TorchDispatchMode

from mugato.model.gato import Gato
from mugato.model.loss import CHUNK_ROWS

VIEWS = {
    "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "slice", "select",
    "squeeze", "unsqueeze", "detach", "alias", "split", "split_with_sizes", "unbind", "as_strided",
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Counts what reaches the device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.counts[name] += name not in VIEWS
        return func(*args, **(kwargs or {}))


def count(options: argparse.Namespace) -> str:
    """Count one step's."""
    config = _config(options.size, "rotary")
    batch = _batch(options, config).to("meta")
    model = Gato(config).train().to("meta")
    with Operations() as forward:
        loss = model(batch).mean()
    with Operations() as backward:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    inputs = batch.inputs
    made = torch._dynamo.explain(model.sequence_model)(
        model.embed(inputs), inputs.positions, inputs.segments
    )
    operations = [sum(each.counts.values()) for each in (forward, backward)]
    return (
        f"{options.size:9} {options.batch:8} {config.num_layers:3} layers: "
        f"{operations[0]:5} operations forward, {operations[1]:5} backward, no wait; compiled "
        f"{made.graph_count} graph(s) with {made.graph_break_count} breaks"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["micro", "small", "baseline"])
    parser.add_argument("--batches", nargs="+", default=["control", "text"])
    options = parser.parse_args()
    no_autocast: Any = lambda device=None: False  # noqa: E731  (which "meta" does not know)
    torch.is_autocast_enabled = no_autocast
    CHUNK_ROWS["meta"] = CHUNK_ROWS["cuda"]
    for size in options.sizes:
        for batch in options.batches:
            print(count(argparse.Namespace(size=size, batch=batch, rows=2, tiles=64)), flush=True)


if __name__ == "__main__":
    main()
