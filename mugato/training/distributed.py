"""Several processes, one result: `torchrun` on CPUs (gloo) or GPUs (NCCL).

Each process computes its share of the microbatches; gradients are summed, never averaged, because
the loss is divided by the global number of targets beforehand.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mugato.model.devices import AUTO, exact_device, find_device

CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DistributedContext:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def exact_device(self) -> torch.device:
        """Where this process keeps sums in float64."""
        return exact_device(self.device)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def own_microbatches(self, num_microbatches: int) -> range:
        """Return the microbatches that this process computes.

        Raises:
            ValueError: if they cannot be dealt out evenly.
        """
        if num_microbatches % self.world_size:
            raise ValueError(
                f"microbatches={num_microbatches} cannot be dealt to {self.world_size} processes; "
                "make it a multiple"
            )
        return range(self.rank, num_microbatches, self.world_size)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], *, on_the_way: bool = False
    ) -> None:
        """Sum all gradients in one message; a microbatch without images gives the patch block none.

        There it becomes zero, with one process as with many: the optimiser treats all alike.

        Args:
            on_the_way: they were summed in the backward pass, as those of split weights are.
        """
        parameters = [p for p in parameters if p.requires_grad]
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        if self.world_size == 1 or on_the_way:
            return
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        dist.all_reduce(flat)
        for p, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = grad.view_as(p)

    def gather(self, dealt: tuple[T, ...]) -> tuple[T, ...]:
        """Collect what was dealt out as microbatches are: each item from the process that has it.

        Args:
            dealt: as long in every process, with its own items up to date.
        """
        if self.world_size == 1:
            return dealt
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, dealt)
        return tuple(gathered[i % self.world_size][i] for i in range(len(dealt)))

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device)))


@contextmanager
def distributed_context(device: str | torch.device = AUTO) -> Iterator[DistributedContext]:
    """Join the processes that torchrun started; alone otherwise.

    Args:
        device: where to train; of several GPUs each process takes its own.

    Raises:
        ValueError: a device that is not here, or that several processes cannot train on.
    """
    device = find_device(device)
    if "RANK" in os.environ and (device.type == "mps" or device.index is not None):
        raise ValueError(f"torchrun's processes cannot share {device}: name cuda or cpu")
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield DistributedContext(device=device)
        return
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        _stay_on_this_machine()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield DistributedContext(
            rank=dist.get_rank(), world_size=dist.get_world_size(), device=device
        )
    finally:
        dist.destroy_process_group()


def _stay_on_this_machine() -> None:
    """Meet over the loopback interface: a laptop's own host name often does not resolve."""
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
