"""Attention in training, block by block of queries, with gradients of its own.

Each block of queries meets only the keys up to its end and from the first that any of them sees:
half of the work of a causal mask, and in packed rows little more than the segments' own. On CPUs
that is three times as fast as PyTorch's fused kernel, whose backward pass is slow there. With
Transformer-XL's distances the position scores exist for one block at a time. The probabilities are
kept for the backward pass; `checkpoint_activations` trades them for time.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mugato.model.attention_mask import QueryBlock


def blockwise_attention(
    q: Float[Tensor, "B H L head"],
    k: Float[Tensor, "B H L head"],
    v: Float[Tensor, "B H L head"],
    blocks: Sequence[QueryBlock],
    *,
    by_distance: tuple[Float[Tensor, "B H L head"], Float[Tensor, "H D head"]] | None = None,
) -> Float[Tensor, "B H L head"]:
    """Compute softmax((q·k + p·r) / √head) v over what each query sees in aligned rows.

    Args:
        blocks: `AttentionMask.blocks`, which cover all queries.
        by_distance: queries p, and the projections r of the distances D - 1 to 0, with D > L.

    >>> from mugato.model.attention_mask import AttentionMask
    >>> q, k, v = torch.randn(3, 1, 2, 5, 8)
    >>> places = torch.arange(5)[None]
    >>> mask = AttentionMask.of_rows(places, torch.ones_like(places), 1024, torch.float32)
    >>> blockwise_attention(q, k, v, mask.blocks).shape
    torch.Size([1, 2, 5, 8])
    """
    scale = 1 / math.sqrt(q.shape[-1])
    p, r = by_distance or (q.new_zeros(0), q.new_zeros(0))
    with torch.autocast(q.device.type, enabled=False):
        return _Blockwise.apply(q * scale, k, v, p * scale, r, tuple(blocks))


class _Blockwise(torch.autograd.Function):
    """All in rows of (B · H): a product of batches takes slices of those without copying them."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        p: Tensor,
        r: Tensor,
        blocks: tuple[QueryBlock, ...],
    ) -> Tensor:
        shape = q.shape
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        if len(p):
            p, r = p.flatten(0, 1), r.repeat(shape[0], 1, 1)
        out, kept = torch.empty_like(q), []
        for block in blocks:
            scores = torch.bmm(q[:, block.queries], k[:, block.keys].transpose(1, 2))
            if len(p):
                near = _nearest(r, block).transpose(1, 2)
                scores += _shifted(torch.bmm(p[:, block.queries], near), block)
            hidden = block.bias.shape[-1]
            seen = scores.view(shape[0], shape[1], *scores.shape[1:])[..., -hidden:]
            seen += block.bias[:, None]
            probabilities = torch.softmax(scores, dim=-1)
            out[:, block.queries] = torch.bmm(probabilities, v[:, block.keys])
            kept.append(probabilities)
        ctx.blocks = blocks
        ctx.save_for_backward(q, k, v, p, r, *kept)
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, p, r, *kept = ctx.saved_tensors
        out_grad = upstream[0].flatten(0, 1)
        q_grad = torch.empty_like(q)
        # Sums over blocks, in fp32 as a kernel's own sums are.
        k_grad, v_grad = (torch.zeros_like(x, dtype=torch.float32) for x in (k, v))
        p_grad, r_grad = torch.empty_like(p), torch.zeros_like(r, dtype=torch.float32)
        for block, probabilities in zip(ctx.blocks, kept, strict=True):
            at, keys = block.queries, block.keys
            v_grad[:, keys] += torch.bmm(probabilities.transpose(1, 2), out_grad[:, at]).float()
            grad = torch.bmm(out_grad[:, at], v[:, keys].transpose(1, 2))
            # What autograd itself calls: one pass where the formula takes three.
            grad = torch._softmax_backward_data(grad, probabilities, -1, grad.dtype)
            q_grad[:, at] = torch.bmm(grad, k[:, keys])
            k_grad[:, keys] += torch.bmm(grad.transpose(1, 2), q[:, at]).float()
            if len(p):
                far = _unshifted(grad)
                p_grad[:, at] = torch.bmm(far, _nearest(r, block))
                _nearest(r_grad, block).add_(torch.bmm(far.transpose(1, 2), p[:, at]).float())
        shape = upstream[0].shape
        q_grad, k_grad, v_grad = (x.to(q.dtype).view(shape) for x in (q_grad, k_grad, v_grad))
        if len(p):
            p_grad, r_grad = p_grad.view(shape), r_grad.unflatten(0, shape[:2]).sum(0)
        return q_grad, k_grad, v_grad, p_grad, r_grad.to(r.dtype), None


def _nearest(r: Float[Tensor, "N D head"], block: QueryBlock) -> Float[Tensor, "N R head"]:
    """Take the rows of as many distances as the block has keys, and of one more in front."""
    return r[:, -(block.width + 1) :]


def _shifted(far: Float[Tensor, "N Q D"], block: QueryBlock) -> Float[Tensor, "N Q K"]:
    """Read columns of distances as columns of keys (Dai et al. 2019, App. B), in a view.

    Beyond a query's own place stands garbage, which the bias hides.
    """
    n, rows, _ = far.shape
    return far.flatten(1)[:, rows:].view(n, rows, block.width)


def _unshifted(grad: Float[Tensor, "N Q K"]) -> Float[Tensor, "N Q D"]:
    """Return the gradient of what `_shifted` was given."""
    n, rows, width = grad.shape
    far = grad.new_empty(n, rows, width + 1)
    far.flatten(1)[:, :rows] = 0
    far.flatten(1)[:, rows:] = grad.flatten(1)
    return far
