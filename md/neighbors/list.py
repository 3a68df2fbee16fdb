"""A neighbour list with a skin whose edges are the same as if it were rebuilt at every query.

The list is built to cutoff + skin and kept while no pair from outside can have come within the
cutoff; each query keeps the edges that are within the cutoff now, in the order (receiver, sender,
shift). So neither the skin nor the moment of the last build shows in the result, to the last bit.

Shifts count lattice vectors between the atoms where they are: positions are never wrapped, by the
list or by those who use it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import EdgeCut, Graph, sum_by_system
from fastequi.kernels.triton.step import kernels
from fastequi.md.neighbors.device import DeviceBuilder, DeviceGauge
from fastequi.md.neighbors.host import HostBuilder
from fastequi.md.neighbors.skin import SkinGauge

#: Added to the radius of a build in Å, so that rounding never loses an edge at the cutoff.
ROUNDING_MARGIN_A = 1e-6


@dataclass(slots=True)
class _Built:
    """What the list was built from, per system, by whom, and its edges on the device.

    positions [atoms, 3] and cell [systems, 3, 3] are those of each system's own last build.
    """

    positions: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor
    builder: HostBuilder | DeviceBuilder
    edge_dst: Tensor
    edge_src: Tensor
    edge_shift: Tensor


class NeighborList:
    """Neighbours within `cutoff` (Å) of a batch of systems, rebuilt when `skin` (Å) is used up.

    `queries` counts calls of `update`, `rebuilds` those that rebuilt at least one system.
    """

    def __init__(self, cutoff: float, skin: float = 1.0) -> None:
        """Raises InputError unless cutoff > 0 and skin >= 0."""
        if not cutoff > 0.0:
            raise InputError(f"the cutoff is {cutoff} Å; it must be positive")
        if not skin >= 0.0:
            raise InputError(f"the skin is {skin} Å; it must be zero or positive")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.queries = 0
        self.rebuilds = 0
        self._built: _Built | None = None
        self._cut: EdgeCut | None = None
        self._gauge: SkinGauge | None = None
        self._onto: tuple[Tensor, Tensor] | None = None

    @property
    def gauge(self) -> SkinGauge:
        """How much of the skin is used up, for those who do not want to wait for the answer."""
        built = self._built
        assert built is not None
        if isinstance(built.builder, DeviceBuilder):
            if not built.builder.is_gauged_by(self._gauge):
                self._gauge = DeviceGauge(built.builder, built.pbc)
        elif self._gauge is None:
            reach = self.cutoff + self.skin
            self._gauge = SkinGauge(built.positions, built.cell, built.pbc, reach, self.skin)
        assert self._gauge is not None
        return self._gauge

    def update(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor, anew: bool = False
    ) -> bool:
        """Whether the list had to be built again, or was to be `anew`; arguments as in `Graph`."""
        self.queries += 1
        built = self._of_systems(positions, pbc, system_idx)
        stale = list(range(cell.shape[0]))
        if built is not None and not anew:
            stale = self._stale(built, positions, cell, pbc, system_idx)
        if built is not None and not stale:
            return False
        self._rebuild(built, stale, positions, cell, pbc, system_idx)
        self._cut = None
        return True

    def graph_with_skin(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        cell: Tensor,
        pbc: Tensor,
        system_idx: Tensor,
    ) -> Graph:
        """The graph of all edges of the list, some longer than the cutoff; after `update`.

        The tensors become the graph's own fields without being copied.
        """
        built = self._built
        assert built is not None
        return Graph(
            positions=positions,
            atomic_numbers=atomic_numbers,
            cell=cell,
            pbc=pbc,
            system_idx=system_idx,
            edge_src=built.edge_src,
            edge_dst=built.edge_dst,
            edge_shift=built.edge_shift,
        )

    def graph(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        cell: Tensor,
        pbc: Tensor,
        system_idx: Tensor,
    ) -> Graph:
        """The graph of the edges within the cutoff; arguments as in `Graph`.

        The tensors become the graph's own fields without being copied.
        """
        everything = positions, atomic_numbers, cell, pbc, system_idx
        self.update(positions, cell, pbc, system_idx)
        if self._cut is None:
            self._cut = EdgeCut(self.graph_with_skin(*everything), self.cutoff)
        found = self._cut.graph(positions, cell)
        return replace(found, atomic_numbers=atomic_numbers, pbc=pbc, system_idx=system_idx)

    def shortest_distance_A(self) -> float:
        """Of all pairs at the last call of `graph`, in Å; infinite where the list has none."""
        assert self._cut is not None
        return self._cut.shortest_distance_A()

    def _of_systems(self, positions: Tensor, pbc: Tensor, system_idx: Tensor) -> _Built | None:
        """The list so far; None where it is of other systems."""
        built = self._built
        is_same = built is not None and _same_systems(built, positions, pbc, system_idx)
        return built if is_same else None

    def _stale(
        self, built: _Built, positions: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor
    ) -> list[int]:
        """The systems that have outgrown the list."""
        if len(positions) and torch.equal(cell, built.cell):
            furthest2 = (positions - built.positions).square_().sum(dim=1).max()
            if 4.0 * furthest2 <= self.skin**2:  # then also beyond the motion of all
                return []
        elif self._surely_lasts(built, positions, cell):
            return []
        used = skin_used(
            built.positions, built.cell, positions, cell, pbc, system_idx, self.cutoff + self.skin
        )
        stale = ~(used <= self.skin)  # in this form NaN is stale too
        return torch.nonzero(stale).squeeze(1).tolist()

    def _surely_lasts(self, built: _Built, positions: Tensor, cell: Tensor) -> bool:
        """By a bound that is cheaper than `skin_used`, and never smaller: 1 - sigma_min(F) is at
        most the norm of F - 1."""
        if self._onto is None:
            self._onto = _inverse_and_rest(built.cell, built.pbc)
        inverse, rest = self._onto
        deformation = torch.baddbmm(rest, inverse, cell * built.pbc.unsqueeze(2))
        moved = positions - _times(built.positions, deformation, built.system_idx)
        identity = torch.eye(3, dtype=cell.dtype, device=cell.device)
        strain2 = (deformation - identity).square().sum(dim=(1, 2)).max()
        furthest2 = moved.square_().sum(dim=1).max()
        most_A = 2.0 * furthest2.sqrt() + (self.cutoff + self.skin) * strain2.sqrt()
        return bool(most_A <= self.skin)

    def _rebuild(
        self,
        built: _Built | None,
        stale: list[int],
        positions: Tensor,
        cell: Tensor,
        pbc: Tensor,
        system_idx: Tensor,
    ) -> None:
        """Build the stale systems (all of them where there is no list yet)."""
        self.rebuilds += 1
        n_systems = cell.shape[0]
        builder = self._builder(system_idx, n_systems) if built is None else built.builder
        if builder.builds_all:
            stale = list(range(n_systems))
        edges, self._onto = builder.build_(stale, positions, cell, pbc), None
        if built is None:
            self._gauge = None
            at_build = positions.clone(), cell.clone(), pbc.clone(), system_idx
            self._built = _Built(*at_build, builder, *edges)
            return
        built.edge_dst, built.edge_src, built.edge_shift = edges
        if len(stale) == n_systems:
            built.positions.copy_(positions)
            built.cell.copy_(cell)
        else:
            is_stale = torch.isin(torch.arange(n_systems), torch.tensor(stale)).to(cell.device)
            atoms = is_stale[system_idx].unsqueeze(1)
            built.positions.copy_(torch.where(atoms, positions, built.positions))
            built.cell.copy_(torch.where(is_stale.view(-1, 1, 1), cell, built.cell))
        if self._gauge is not None:
            self._gauge.built_(built.positions, built.cell)

    def _builder(self, system_idx: Tensor, n_systems: int) -> HostBuilder | DeviceBuilder:
        """Who builds lists of such a batch: where its atoms are, if there are kernels for it."""
        radius = self.cutoff + self.skin + ROUNDING_MARGIN_A
        if kernels.run_on(system_idx.device):
            return DeviceBuilder(radius, self.skin, system_idx, n_systems)
        return HostBuilder(radius, system_idx, n_systems)


def skin_used(
    built_positions: Tensor,
    built_cell: Tensor,
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,
    system_idx: Tensor,
    build_radius: float,
) -> Tensor:
    """How much of the skin motion and strain have used since the build: [systems] in Å.

    With F the map of the lattice at the build onto the lattice now and u the motion of an atom
    beyond x F, a pair that was build_radius apart is at least
    sigma_min(F)·build_radius - 2 max|u| apart now. Expansion uses nothing. Motion that all atoms
    of a system share does not count.
    """
    n_systems = cell.shape[0]
    strain_A: Tensor | float = 0.0
    moved = positions - built_positions
    if not torch.equal(cell, built_cell):
        deformation = _deformation(built_cell, cell, pbc)
        moved = positions - _times(built_positions, deformation, system_idx)
        sigma_min = torch.linalg.svdvals(deformation)[:, -1]
        strain_A = build_radius * (1.0 - sigma_min).clamp(min=0.0)
    counts = torch.bincount(system_idx, minlength=n_systems).clamp(min=1)
    mean = sum_by_system(moved, system_idx, n_systems) / counts.unsqueeze(1)
    squared = (moved - mean[system_idx]).square().sum(dim=1)
    furthest = squared.new_zeros(n_systems).scatter_reduce(0, system_idx, squared, "amax")
    return 2.0 * furthest.sqrt() + strain_A


def _deformation(built_cell: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    """F [systems, 3, 3] with lattice_built @ F = lattice_now.

    Only periodic lattice vectors count; directions normal to all of them stay as they are.
    """
    inverse, rest = _inverse_and_rest(built_cell, pbc)
    return inverse @ (cell * pbc.unsqueeze(2)) + rest


def _inverse_and_rest(built_cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """What of F follows from the build alone."""
    built = built_cell * pbc.unsqueeze(2)
    inverse = torch.linalg.pinv(built)
    identity = torch.eye(3, dtype=built.dtype, device=built.device)
    return inverse, identity - inverse @ built


def _times(vectors: Tensor, matrices: Tensor, system_idx: Tensor) -> Tensor:
    """Each row vector [atoms, 3] times the matrix of its system [systems, 3, 3]."""
    if len(matrices) == 1:
        return vectors @ matrices[0]
    return (vectors.unsqueeze(1) @ matrices.index_select(0, system_idx)).squeeze(1)


def _same_systems(built: _Built, positions: Tensor, pbc: Tensor, system_idx: Tensor) -> bool:
    if positions.shape != built.positions.shape or pbc.shape != built.pbc.shape:
        return False
    if system_idx is not built.system_idx and not torch.equal(system_idx, built.system_idx):
        return False
    return torch.equal(pbc, built.pbc)
