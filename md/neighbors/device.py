"""Builds lists on a GPU, where the atoms are: the edges of `build.py`, in the same order.

The kernels are those of `fastequi.kernels.triton.step`; they fill memory for so many edges, count
those that there are, and are asked once whether all had room.
"""

from typing import NoReturn

import torch
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.kernels.triton.step.buffers import Batch, new_list
from fastequi.kernels.triton.step.definitions import unpack
from fastequi.kernels.triton.step.flags import NOT_FINITE, OFFSET, OUT_OF_RANGE
from fastequi.kernels.triton.step.step import build_list_, change_cell_, check_moves_
from fastequi.md.batch import Batch as Atoms
from fastequi.md.neighbors.build import not_finite
from fastequi.md.neighbors.skin import SkinGauge

#: Room for lists that follow, as a share of the one that had none.
_GROWTH = 1.25


class DeviceBuilder:
    """Of one batch of systems; radius, and what of it is skin, in Å.

    edges, work: memory of the list; other tensors after a list had no room in them.
    """

    builds_all = True

    def __init__(self, radius: float, skin: float, system_idx: Tensor, n_systems: int) -> None:
        self.radius, self.skin = radius, skin
        self.batch = Batch.sorted(system_idx, n_systems)
        self.flags = torch.zeros(1, dtype=torch.int32, device=system_idx.device)
        self.edges, self.work = new_list(self.batch, 0, torch.int32)  # the first build counts

    def build_(
        self, stale: list[int], positions: Tensor, cell: Tensor, pbc: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """edge_dst, edge_src and edge_shift of all systems.

        Raises PhysicsError for positions that are not finite, or out of range.
        """
        needed = self._look(positions, cell, pbc)
        if needed > self.edges.capacity:
            self.edges, self.work = new_list(self.batch, int(_GROWTH * needed) + 1, torch.int32)
            self._look(positions, cell, pbc)
        edges, rows = self.edges, torch.arange(self.batch.n_atoms, device=positions.device)
        degrees = edges.row_start.diff()
        edge_dst = torch.repeat_interleave(rows, degrees, output_size=needed)
        shift = unpack(edges.shift[:needed]).to(positions.dtype)
        return edge_dst, edges.sender[:needed].long(), shift

    def try_(self, positions: Tensor, cell: Tensor, pbc: Tensor) -> None:
        """Into the memory that there is, without a question; see `flags` and `edges.needed`."""
        self.flags.zero_()
        build_list_(
            self.edges, self.work, positions.contiguous(), cell.contiguous(), pbc.contiguous(),
            self.batch, self.radius, self.skin, self.flags,
        )  # fmt: skip

    def is_gauged_by(self, gauge: object) -> bool:
        """Whether a gauge is in this memory."""
        return isinstance(gauge, DeviceGauge) and gauge.edges is self.edges

    def _look(self, positions: Tensor, cell: Tensor, pbc: Tensor) -> int:
        """Build, and how many edges there are: what the host waits for."""
        self.try_(positions, cell, pbc)
        flags, needed = torch.cat([self.flags, self.edges.needed]).tolist()
        if flags & NOT_FINITE:
            raise not_finite(positions.cpu().numpy())
        if flags & OUT_OF_RANGE:
            self._raise_out_of_range(positions)
        return needed

    def _raise_out_of_range(self, positions: Tensor) -> NoReturn:
        furthest = int(positions.abs().amax(dim=1).argmax())
        raise PhysicsError(
            f"no neighbour list: atom {furthest} is at {positions[furthest].tolist()} Å; on a GPU "
            f"atoms may be {OFFSET // 4} lattice vectors, or {OFFSET // 4} times "
            f"{self.radius:.1f} Å where there are none, from the origin"
        )


class DeviceGauge(SkinGauge):
    """In the memory of a list that a `DeviceBuilder` has built."""

    def __init__(self, builder: DeviceBuilder, pbc: Tensor) -> None:
        self.edges, self._of_kernels = builder.edges, builder.batch
        built = self.edges.positions, self.edges.frame, self.edges.inverse
        self._measure(*built, pbc, builder.radius, builder.skin)

    def built_(self, positions: Tensor, cell: Tensor) -> None:
        """The kernels have written what belongs to the build."""

    def start_(self, positions: Tensor, cell: Tensor, batch: Atoms) -> None:
        """As `SkinGauge.start_`."""
        self.edges.last_positions.copy_(positions)
        self._change_(cell)
        self._hold_(cell, batch)

    def watch_(
        self, positions: Tensor, cell: Tensor | None, batch: Atoms, furthest_A: float,
        flags: Tensor,
    ) -> None:  # fmt: skip
        """As `SkinGauge.watch_`, in two kernels; three where the cell moves."""
        if cell is not None:
            self._change_(cell)
        check_moves_(self.edges, positions.contiguous(), self._of_kernels, furthest_A, flags)

    def _change_(self, cell: Tensor) -> None:
        change_cell_(self.edges, cell.contiguous(), self._pbc, self.radius, self.skin)
