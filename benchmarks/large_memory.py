"""Peak memory of a training step of `large()` on one 1,024-token sequence, activations recomputed.

Counted tensor by tensor on fake tensors: nothing of that size is allocated, any machine will do.
Weights, gradients and AdamW's moments in fp32, forward and backward under bf16 autocast.

    python benchmarks/large_memory.py [--size large] [--keep-activations]
"""

import argparse
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from mugato.model.attention_mask import AttentionMask
from mugato.model.config import GatoConfig
from mugato.model.gato import Gato
from mugato.tokens.batch import Batch, ModelInput, Targets

LENGTH = 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="large")
    parser.add_argument("--keep-activations", action="store_true")
    options = parser.parse_args()
    # Questions to the values, which fake tensors lack, answered from real ones.
    places = torch.arange(LENGTH)[None]
    mask = AttentionMask.of_rows(places, torch.ones_like(places), LENGTH, torch.bfloat16)
    known: Any = AttentionMask
    known.blocks, known.aligned = mask.blocks, True
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = Gato(getattr(GatoConfig, options.size)()).train()
        model.sequence_model.checkpoint_activations = not options.keep_activations
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        tracker = MemTracker()
        tracker.track_external(model, optimizer)
        with tracker:
            for _ in range(2):  # the moments exist from the first step on
                tracker.reset_mod_stats()
                with torch.autocast("cpu", torch.bfloat16):
                    hidden = model.hidden(_text().inputs)[0]
                    logits = torch.nn.functional.linear(hidden, model.embedding.table.weight)
                logits.float().logsumexp(-1).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
        peak = tracker.get_tracker_snapshot("peak")
    for device, parts in peak.items():
        for part, size in parts.items():
            print(f"{device} {part!s:40} {size / 2**30:7.2f} GiB")


def _text() -> Batch:
    """One row of text, with the head on every position: the worst case."""
    nothing = torch.zeros((1, LENGTH), dtype=torch.int64)
    inputs = ModelInput(
        ids=nothing,
        positions=torch.arange(LENGTH)[None],
        segments=nothing + 1,
        local_positions=nothing,
        patch_index=nothing - 1,
        intervals=torch.zeros((1, LENGTH, 4), dtype=torch.int64),
        patches=torch.zeros((0, 768), dtype=torch.uint8),
    )
    targets = Targets(
        ids=nothing, loss_mask=nothing == 0, observation_mask=nothing > 0, sources=nothing
    )
    return Batch(inputs=inputs, targets=targets)


if __name__ == "__main__":
    main()
