"""How much of a list's skin is used up, asked of nobody: an answer that stays on the device.

The same bound as `skin_used` in `list.py`, in operations that no device has to wait for: instead
of the smallest singular value of the deformation the bound of `kernels.triton.step.definitions`,
which is never larger. So a list may be called old a little sooner, and never later.
"""

import torch
from torch import Tensor

from fastequi.kernels.triton.step.definitions import deform
from fastequi.md.batch import Batch


class SkinGauge:
    """Of one list; its tensors keep their places from build to build.

    positions [atoms, 3], cell [systems, 3, 3] of the build; pbc [systems, 3]; radius, skin in Å.
    """

    def __init__(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, radius: float, skin: float
    ) -> None:
        self.radius, self.skin, self._pbc = radius, skin, pbc
        self._positions = torch.empty_like(positions)
        self._frame, self._inverse = torch.empty_like(cell), torch.empty_like(cell)
        self.built_(positions, cell)

    def built_(self, positions: Tensor, cell: Tensor) -> None:
        """The list was built again."""
        self._positions.copy_(positions)
        self._frame.copy_(_frame(cell, self._pbc))
        self._inverse.copy_(torch.linalg.inv(self._frame))

    def used(self, positions: Tensor, cell: Tensor | None, batch: Batch) -> Tensor:
        """Of each system [systems] in Å; cell: None where it is that of the build."""
        strain_A, moved = None, positions - self._positions
        if cell is not None:
            deformation, allowed = deform(
                self._frame, self._inverse, cell, self._pbc, self.radius, self.skin
            )
            affine = (self._positions.unsqueeze(1) @ batch.of_atoms(deformation)).squeeze(1)
            strain_A, moved = self.skin - allowed, positions - affine
        mean = batch.sum(moved) / batch.n_atoms.unsqueeze(1)
        squared = (moved - batch.of_atoms(mean)).square_().sum(dim=1)
        used = 2.0 * batch.largest(squared).sqrt()
        return used if strain_A is None else used + strain_A


def _frame(cell: Tensor, pbc: Tensor) -> Tensor:
    """Lattice vectors of periodic directions; unit vectors normal to all of them for the others."""
    frame = torch.zeros_like(cell)
    for k, (rows, periodic) in enumerate(zip(cell.cpu(), pbc.cpu(), strict=True)):
        lattice = torch.where(periodic.unsqueeze(1), rows, 0.0)
        normals = torch.linalg.svd(lattice)[2][int(periodic.sum()) :]
        lattice[~periodic] = normals
        frame[k] = lattice
    return frame
