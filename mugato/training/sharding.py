"""Weights, gradients and moments split over processes: FSDP2, put on from outside the model.

The model does not know: its repeated blocks are gathered one after the other as they are needed;
the tied table, the patch block and the last norm, which belong to no block, all at once. On disk
there is no trace of it: a state is written whole, and is read by as many processes as there are.
PyTorch's part of it takes a second to import, which only runs that split anything pay.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mugato.model.gato import Gato
from mugato.training.distributed import DistributedContext


def shard(model: Gato, shards: int, context: DistributedContext) -> None:
    """Split a model's weights over so many processes, in place; those groups hold replicas.

    With as many shards as processes every weight is kept once; with fewer each group of `shards`
    neighbors keeps them all, and gradients are summed over the groups (hybrid).

    Raises:
        ValueError: if the processes cannot be dealt out to groups of that size, or this PyTorch
            cannot split weights of which a batch does not use all.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise ValueError(f"shards={shards} takes PyTorch 2.13 or later, not {torch.__version__}")
    if context.world_size % shards:
        raise ValueError(
            f"shards={shards} does not divide the {context.world_size} processes that train"
        )
    kind, replicas = context.device.type, context.world_size // shards
    if replicas == 1:
        mesh = init_device_mesh(kind, (shards,), mesh_dim_names=("shard",))
    else:
        mesh = init_device_mesh(kind, (replicas, shards), mesh_dim_names=("replicate", "shard"))
    for block in repeated(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # The loss is divided by the global number of targets: gradients are summed.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            # Without pictures the patch block gets no gradient, in one process and not in another.
            module.set_reduce_scatter_unused_params(True)


def repeated(model: Gato) -> Iterator[nn.Module]:
    """Find the blocks: the children of the sequence model's longest list of modules."""
    lists = [m for m in model.sequence_model.modules() if isinstance(m, nn.ModuleList)]
    yield from max(lists, key=len, default=[])


def whole(tensors: Mapping[str, Tensor], context: DistributedContext) -> dict[str, Tensor]:
    """Gather split tensors one by one: in the main process on its CPU, in others nothing is kept.

    All processes must ask for the same tensors in the same order. What is not split stays as it is.
    """
    found = {}
    for name, tensor in tensors.items():
        if is_split(tensor):
            split: Any = tensor.detach()
            tensor = split.full_tensor()
            tensor = tensor.cpu() if context.is_main else tensor
        if context.is_main:
            found[name] = tensor
    return found


def is_split(tensor: Any) -> bool:
    """Tell whether this process holds but a part of a tensor."""
    return hasattr(tensor, "full_tensor")


def split_like(tensor: Tensor, like: Any) -> Tensor:
    """Split a whole tensor, which every process has, as another one is split; or leave it whole.

    The type stays its own; the device becomes the other's.
    """
    if not is_split(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    there = tensor.to(like.to_local().device)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)
