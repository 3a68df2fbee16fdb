"""How much of a list's skin is used up, asked of nobody: an answer that stays on the device.

The same bound as `skin_used` in `list.py`, in operations that no device has to wait for: instead
of the smallest singular value of the deformation the bound of `kernels.triton.step.definitions`,
which is never larger. So a list may be called old a little sooner, and never later.
"""

import torch
from torch import Tensor

from fastequi.kernels.triton.step.definitions import deform
from fastequi.kernels.triton.step.flags import MOVED_TOO_FAR, SKIN_USED, raise_
from fastequi.md.batch import Batch


class SkinGauge:
    """Of one list, and whether atoms fly; its tensors keep their places from build to build.

    positions [atoms, 3], cell [systems, 3, 3] of the build; pbc [systems, 3]; radius, skin in Å.
    """

    def __init__(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, radius: float, skin: float
    ) -> None:
        frame, inverse = torch.empty_like(cell), torch.empty_like(cell)
        self._measure(torch.empty_like(positions), frame, inverse, pbc, radius, skin)
        self._before = torch.empty_like(positions)
        self.built_(positions, cell)

    def _measure(
        self, positions: Tensor, frame: Tensor, inverse: Tensor, pbc: Tensor, radius: float,
        skin: float,
    ) -> None:  # fmt: skip
        """From these on, written at each build; with memory for a cell that stays as it is."""
        self.radius, self.skin, self._pbc = radius, skin, pbc
        self._positions, self._frame, self._inverse = positions, frame, inverse
        self._affine = torch.empty_like(positions)
        self._strain_A = positions.new_empty(len(pbc))

    def built_(self, positions: Tensor, cell: Tensor) -> None:
        """The list was built again."""
        self._positions.copy_(positions)
        self._frame.copy_(_frame(cell, self._pbc))
        self._inverse.copy_(torch.linalg.inv(self._frame))

    def start_(self, positions: Tensor, cell: Tensor, batch: Batch) -> None:
        """Where atoms are before the first call of `watch_`, and the cell if it is to stay."""
        self._before.copy_(positions)
        self._hold_(cell, batch)

    def watch_(
        self, positions: Tensor, cell: Tensor | None, batch: Batch, furthest_A: float,
        flags: Tensor,
    ) -> None:  # fmt: skip
        """Raise SKIN_USED, and MOVED_TOO_FAR for a move beyond `furthest_A` since the last call."""
        moved2 = (positions - self._before).square_().sum(dim=1)
        raise_(flags, MOVED_TOO_FAR, moved2 <= furthest_A**2)
        self._before.copy_(positions)
        raise_(flags, SKIN_USED, self.used(positions, cell, batch) <= self.skin)

    def used(self, positions: Tensor, cell: Tensor | None, batch: Batch) -> Tensor:
        """Of each system [systems] in Å; cell: None where it is that of `start_`."""
        affine, strain_A = self._affine, self._strain_A
        if cell is not None:
            affine, strain_A = self._deformed(cell, batch)
        moved = positions - affine
        mean = batch.sum(moved) / batch.n_atoms.unsqueeze(1)
        squared = (moved - batch.of_atoms(mean)).square_().sum(dim=1)
        return 2.0 * batch.largest(squared).sqrt() + strain_A

    def _hold_(self, cell: Tensor, batch: Batch) -> None:
        affine, strain_A = self._deformed(cell, batch)
        self._affine.copy_(affine)
        self._strain_A.copy_(strain_A)

    def _deformed(self, cell: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Where a cell has taken the positions of the build, and what strain uses, [systems]."""
        deformation, allowed = deform(
            self._frame, self._inverse, cell, self._pbc, self.radius, self.skin
        )
        affine = (self._positions.unsqueeze(1) @ batch.of_atoms(deformation)).squeeze(1)
        return affine, self.skin - allowed


def _frame(cell: Tensor, pbc: Tensor) -> Tensor:
    """Lattice vectors of periodic directions; unit vectors normal to all of them for the others."""
    frame = torch.zeros_like(cell)
    for k, (rows, periodic) in enumerate(zip(cell.cpu(), pbc.cpu(), strict=True)):
        lattice = torch.where(periodic.unsqueeze(1), rows, 0.0)
        normals = torch.linalg.svd(lattice)[2][int(periodic.sum()) :]
        lattice[~periodic] = normals
        frame[k] = lattice
    return frame
