"""Muon for the matrices of the sequence model, AdamW for all else (not in the paper).

Muon (Jordan et al. 2024) makes every direction of a matrix's momentum equally long: rare ones are
learned as fast as common ones. `torch.optim.Muon` does the same in bf16 alone, which processors
without units for it take 80 times as long for, knows no matrices that stand for several, and
has every process do all of them.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mugato.training.distributed import DistributedContext

# Coefficients of each iteration, the best for what those before have left (Amsel et al. 2025, "The
# Polar Express"); the last go on. Four iterations do what takes five with one set for all.
POLAR_EXPRESS = (
    (8.287212018145622, -23.59588651909882, 17.300387312530923),
    (4.107059111542197, -2.9478499167379084, 0.54484310829266),
    (3.9486908534822938, -2.908902115962947, 0.5518191394370131),
    (3.3184196573706055, -2.488488024314878, 0.5100489401237208),
    (2.3006520199548186, -1.6689039845747518, 0.4188073119525678),
    (1.8913014077874002, -1.2679958271945908, 0.37680408948524996),
    (1.875, -1.25, 0.375),
)
# Rounding may leave a singular value above 1, where the polynomials grow fast: each but the last
# takes it for so many times smaller, as their authors do, or in bf16 a few iterations diverge.
SAFETY = 1.01
POLYNOMIALS = (
    *((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in POLAR_EXPRESS[:-1]),
    POLAR_EXPRESS[-1],
)
RMS = 0.2  # of an update's elements at a rate of 1, about AdamW's (Liu et al. 2025)


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but for the groups that say `muon`: their rate is `lr * lr_factor`.

    Each parameter of such a group stands for `parts` matrices of equal shape, one below the other.
    """

    def __init__(
        self, groups: list[dict[str, Any]], context: DistributedContext, **options: Any
    ) -> None:
        defaults = {"muon": False, "parts": 1, "lr_factor": 1.0, "momentum": 0.0, "iterations": 0}
        super().__init__([{**defaults, **group} for group in groups], **options)
        self._context = context

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """Update all weights that have a gradient; matrices give theirs up.

        Raises:
            ValueError: for a closure, whose gradients would come too late for the matrices.
        """
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure")
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
        return super().step()

    def _step_matrices(self, group: dict[str, Any]) -> None:
        """Update a group's matrices; each is worked out by one process for all."""
        matrices = [p for p in group["params"] if p.grad is not None]
        if not matrices:
            return
        n, lr = group["parts"], group["lr"] * group["lr_factor"]
        parts = [part for d in self._directions(matrices, group["momentum"]) for part in d.chunk(n)]
        updates = self._dealt_out(parts, group["iterations"])
        scales = [-lr * RMS * math.sqrt(max(part.shape)) for part in parts]
        torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
        torch._foreach_mul_(updates, scales)
        torch._foreach_add_([weights for p in matrices for weights in p.chunk(n)], updates)
        for p in matrices:
            p.grad = None

    def _directions(self, matrices: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """Keep the gradients, and return what to follow (Nesterov)."""
        for p in matrices:
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros(())  # AdamW looks for it in everyone's state
                state["momentum_buffer"] = torch.zeros_like(p)
            state["step"] += 1
        buffers = [self.state[p]["momentum_buffer"] for p in matrices]
        gradients: Any = [p.grad for p in matrices]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return list(torch._foreach_lerp(gradients, buffers, momentum))

    def _dealt_out(self, parts: list[Tensor], iterations: int) -> list[Tensor]:
        """Make each matrix orthogonal in one of the processes, and tell the others."""
        rank, world_size = self._context.rank, self._context.world_size
        if world_size == 1:
            return orthogonal_each(parts, iterations)
        own = iter(orthogonal_each(parts[rank::world_size], iterations))
        updates = [
            next(own) if i % world_size == rank else torch.zeros_like(part)
            for i, part in enumerate(parts)
        ]
        flat = self._context.sum(torch.cat([u.flatten() for u in updates]))
        pieces = flat.split([part.numel() for part in parts])
        return [u.view_as(part) for u, part in zip(pieces, parts, strict=True)]


def matrices_of(model: nn.Module) -> dict[int, list[Tensor]]:
    """Return the linear layers' weights by how many matrices each is: three are one in `qkv`."""
    found: dict[int, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found.setdefault(3 if name.endswith("qkv") else 1, []).append(module.weight)
    return found


def orthogonal_each(matrices: list[Tensor], iterations: int) -> list[Tensor]:
    """Make matrices orthogonal; on a GPU those of equal shape at once, for one does not fill it."""
    if not matrices or matrices[0].device.type == "cpu":
        return [orthogonal(matrix, iterations) for matrix in matrices]
    alike: dict[torch.Size, list[int]] = {}
    for i, matrix in enumerate(matrices):
        alike.setdefault(matrix.shape, []).append(i)
    found = {}
    for places in alike.values():
        together = orthogonal(torch.stack([matrices[i] for i in places]), iterations)
        found.update(zip(places, together.unbind(), strict=True))
    return [found[i] for i in range(len(matrices))]


def orthogonal(matrix: Float[Tensor, "*B m n"], iterations: int) -> Float[Tensor, "*B m n"]:
    """Bring all singular values near 1 by polynomials of the matrix; under autocast in bf16.

    >>> values = torch.linalg.svdvals(orthogonal(torch.diag(torch.tensor([1.0, 0.1, 0.02])), 5))
    >>> bool((values > 0.6).all()), bool((values < 1.3).all())
    (True, True)
    """
    x = matrix.float()
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    x = x / (SAFETY * torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)).clamp(min=1e-7)
    # Wide matrices are worked out by their small square, which rounding to bf16 would spoil.
    if x.shape[-1] >= 2 * x.shape[-2] and not torch.is_autocast_enabled(x.device.type):
        x = _factor(x @ x.mT, iterations) @ x
    else:
        for a, b, c in _polynomials(iterations):
            gram = x @ x.mT
            x = _sum(a, x, 1.0, _sum(b, gram, c, gram, gram), x)
    return (x.mT if is_tall else x).to(matrix.dtype)


def _factor(gram: Float[Tensor, "*B m m"], iterations: int) -> Float[Tensor, "*B m m"]:
    """Return what the iterations multiply a matrix by, from its product with its transpose."""
    factor = gram
    for i, (a, b, c) in enumerate(_polynomials(iterations)):
        polynomial = _sum(b, gram, c, gram, gram)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = polynomial @ factor if i else polynomial
        if i < iterations - 1:
            gram = polynomial @ gram @ polynomial
    return factor


def _polynomials(iterations: int) -> Iterator[tuple[float, float, float]]:
    return (POLYNOMIALS[min(i, len(POLYNOMIALS) - 1)] for i in range(iterations))


def _sum(beta: float, x: Tensor, alpha: float, y: Tensor, z: Tensor) -> Tensor:
    """Return `beta x + alpha y z`."""
    added_to_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    return added_to_product(x, y, z, beta=beta, alpha=alpha)
