"""What the model reads and what it is scored on: `ModelInput` and `Targets`, together a `Batch`.

Tokens of one sequence or of many are laid into B rows of L places. Which place each takes is
decided elsewhere: `packing.py` fills rows for training, a running stream reads its rows from the
left. It knows nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mugato.tokens.images import NUM_LEVELS
from mugato.tokens.sequence import ACTION_POSITION, TokenSequence

# The table of distinct patches is filled up to a power of two or a multiple of this: kernels are
# compiled for each shape anew, and a new shape with every batch would cost more than the batch.
PATCH_MULTIPLE = 256
# After so many patches of a batch, a table of which more than this share is new gives up looking.
MIN_SEEN = 256
MAX_DISTINCT = 0.9

T = TypeVar("T", bound="_Tensors")


class _Tensors:
    """Tensors that move together."""

    def to(self: T, device: torch.device | str) -> T:
        """Move every tensor."""
        moved = {name: t.to(device, non_blocking=True) for name, t in vars(self).items()}
        return type(self)(**moved)


@dataclass(frozen=True, kw_only=True)
class ModelInput(_Tensors):
    """What the model sees: B rows of L places.

    Attributes:
        ids, local_positions, intervals: as in `TokenSequence`.
        positions: index of each token within its segment.
        segments: tokens see their own segment only; counted from 1 in each row, 0 is padding.
        patch_index: row of `patches`, or -1.
        patches: the distinct patches, uint8; those of a batch are filled up with black ones.
    """

    ids: Int[Tensor, "B L"]
    positions: Int[Tensor, "B L"]
    segments: Int[Tensor, "B L"]
    local_positions: Int[Tensor, "B L"]
    patch_index: Int[Tensor, "B L"]
    intervals: Int[Tensor, "B L 4"]
    patches: UInt8[Tensor, "P channels"]


@dataclass(frozen=True, kw_only=True)
class Targets(_Tensors):
    """What the model is scored on, place by place.

    Attributes:
        ids: the id that follows each token.
        loss_mask: where it counts, see `TokenSequence`.
        observation_mask: where it belongs to an observation.
        sources: index of each token's data source, for metrics.
        places: where `loss_mask` is set, counted row by row: found where the batch is made, since a
            GPU that is asked has to be waited for.
    """

    ids: Int[Tensor, "B L"]
    loss_mask: Bool[Tensor, "B L"]
    observation_mask: Bool[Tensor, "B L"]
    sources: Int[Tensor, "B L"]
    places: Int[Tensor, " N"] | None = None

    def __post_init__(self) -> None:
        if self.places is None:
            object.__setattr__(self, "places", self.loss_mask.flatten().nonzero().squeeze(1))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a training step needs: the input and its targets."""

    inputs: ModelInput
    targets: Targets

    @staticmethod
    def from_tensors(
        *,
        ids: Int[Tensor, "B L"],
        patches: UInt8[Tensor, "B L channels"],
        is_patch: Bool[Tensor, "B L"],
        intervals: Float[Tensor, "B L 4"],
        local_positions: Int[Tensor, "B L"],
        is_observation: Bool[Tensor, "B L"],
        num_levels: int = NUM_LEVELS,
    ) -> "Batch":
        """Make a batch of one sequence a row from plain tensors, for the model on its own.

        Args:
            ids: ids of the tokens that are not patches.
            patches: pixels of those that are.
            intervals: row from, to, column from, to of each patch in its image, from 0 to 1.
            local_positions: place within the timestep's observation.
            is_observation: False for action tokens: the targets.
            num_levels: the model's `patch_levels`.
        """
        everywhere = torch.ones_like(ids)
        following = torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], dim=1)
        is_action = torch.cat([~is_observation[:, 1:], torch.zeros_like(is_patch[:, :1])], dim=1)
        levels = torch.round(intervals * num_levels).long()
        inputs = ModelInput(
            ids=ids.masked_fill(is_patch, 0),
            positions=everywhere.cumsum(1) - 1,
            segments=everywhere,
            local_positions=local_positions.masked_fill(~is_observation, ACTION_POSITION),
            patch_index=torch.where(is_patch, is_patch.flatten().cumsum(0).view_as(ids) - 1, -1),
            intervals=levels.masked_fill(~is_patch[..., None], 0),
            patches=patches[is_patch],
        )
        zeros = torch.zeros_like(ids)
        targets = Targets(
            ids=following, loss_mask=is_action, observation_mask=zeros.bool(), sources=zeros
        )
        return Batch(inputs=inputs, targets=targets)

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor."""
        return Batch(inputs=self.inputs.to(device), targets=self.targets.to(device))

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Return all tensors as arrays, by part and name: what travels between processes."""
        return {
            part: {name: tensor.numpy() for name, tensor in vars(tensors).items()}
            for part, tensors in vars(self).items()
        }

    @staticmethod
    def from_arrays(arrays: dict[str, dict[str, np.ndarray]]) -> "Batch":
        """Put together what `to_arrays` took apart."""
        inputs, targets = (
            {name: torch.from_numpy(array) for name, array in arrays[part].items()}
            for part in ("inputs", "targets")
        )
        return Batch(inputs=ModelInput(**inputs), targets=Targets(**targets))


class Layout:
    """Which row and column each token of some sequences takes, one sequence after the other."""

    def __init__(
        self,
        sequences: Sequence[TokenSequence],
        *,
        rows: Int[np.ndarray, " N"],
        columns: Int[np.ndarray, " N"],
        shape: tuple[int, int],
    ) -> None:
        self._sequences, self._places, self._shape = sequences, (rows, columns), shape

    def inputs(self, segments: Int[np.ndarray, " N"], *, fill: bool) -> ModelInput:
        """Lay out what the model sees; with `fill` the patches come in one of few numbers."""
        patches, index = self._patches(fill=fill)
        return ModelInput(
            ids=self._laid("ids"),
            positions=self._laid("positions"),
            segments=self._write(segments),
            local_positions=self._laid("local_positions"),
            patch_index=self._write(index, blank=-1),
            intervals=self._laid("intervals"),
            patches=torch.from_numpy(patches),
        )

    def targets(self) -> Targets:
        """Lay out what the model is scored on."""
        sources = [np.full(len(s), s.source) for s in self._sequences]
        return Targets(
            ids=self._laid("targets"),
            loss_mask=self._laid("loss_mask").bool(),
            observation_mask=self._laid("observation_mask").bool(),
            sources=self._write(np.concatenate([*sources, np.zeros(0, np.int64)])),
        )

    def _laid(self, name: str) -> Tensor:
        values = [getattr(s, name) for s in self._sequences]
        return self._write(np.concatenate(values) if values else np.zeros(0, np.int64))

    def _write(self, values: np.ndarray, *, blank: int = 0) -> Tensor:
        array = np.full((*self._shape, *values.shape[1:]), blank, np.int64)
        array[self._places] = values
        return torch.from_numpy(array)

    def _patches(self, *, fill: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct patches, and the one of each token."""
        table, index = _PatchTable(), [np.zeros(0, np.int64)]
        for s in self._sequences:
            known = table.add(s.patches) if len(s.patches) else np.zeros(0, np.int64)
            index.append(np.append(known, -1)[s.patch_index])
        return table.stacked(fill=fill), np.concatenate(index)


class _PatchTable:
    """Distinct patches: a grid world shows the same few dozen over and over.

    Once most of what came was new, as with photographs, the table stops looking for what it has.
    """

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}
        self._rows: list[bytes] = []
        self._channels = self._seen = 0

    def add(self, patches: np.ndarray) -> np.ndarray:
        """Return each patch's row in the table."""
        self._channels = patches.shape[1]
        looked_up = self._seen < MIN_SEEN or len(self._rows) < MAX_DISTINCT * self._seen
        self._seen += len(patches)
        add = self._find if looked_up else self._append
        return np.array([add(patch.tobytes()) for patch in patches])

    def _find(self, patch: bytes) -> int:
        row = self._index.setdefault(patch, len(self._rows))
        return self._append(patch) if row == len(self._rows) else row

    def _append(self, patch: bytes) -> int:
        self._rows.append(patch)
        return len(self._rows) - 1

    def stacked(self, *, fill: bool) -> np.ndarray:
        count = len(self._rows)
        table = np.zeros((_filled(count) if fill else count, self._channels), np.uint8)
        if self._rows:
            joined = np.frombuffer(b"".join(self._rows), np.uint8)
            table[:count] = joined.reshape(-1, self._channels)
        return table


def _filled(count: int) -> int:
    """Round up to one of few sizes.

    >>> [_filled(n) for n in (0, 1, 3, 200, 257)]
    [0, 1, 4, 256, 512]
    """
    if count <= PATCH_MULTIPLE:
        return 1 << (count - 1).bit_length() if count else 0
    return -(-count // PATCH_MULTIPLE) * PATCH_MULTIPLE
