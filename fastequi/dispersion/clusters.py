"""Who is near whom, for pairs that reach further than a model: clusters, images, and their lists.

At 60 bohr an atom has thousands of partners, and a list of pairs would be the largest thing in
memory. Atoms that are close form a cluster with one list of senders, which are images of atoms.

Positions and cell are rounded to 2⁻³⁶ Å: then images and differences are exact, and a pair's
vector does not depend on which image of either atom it is taken between.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.pair_sums import PairList

#: Å; a length up to 2¹⁷ Å is a whole number of these with 53 bits.
_GRAIN = 2.0**-36
#: Å that single precision may be wrong by when a list is made.
_MARGIN = 0.01
#: Clusters that are compared with their senders at a time.
_GROUP = 32


@dataclass(frozen=True)
class Clusters:
    """Of a batch of systems.

    lane_atom     [clusters, lanes]     int64; the last ones of a cluster may repeat an atom
    lane_wrap     [clusters, lanes, 3]  whole lattice vectors that bring it into the cell
    place         [atoms]               int64: cluster * lanes + lane
    image_atom    [rows]                int64, sorted by element, atom and shift in each system
    image_shift   [rows, 3]             whole lattice vectors
    near, far     lists of senders
    """

    lane_atom: Tensor
    lane_wrap: Tensor
    place: Tensor
    image_atom: Tensor
    image_shift: Tensor
    near: PairList
    far: PairList

    def moved(self, cell: Tensor, system_idx: Tensor) -> tuple[Tensor, Tensor]:
        """How far lanes [clusters, lanes, 3] and images [rows, 3] are from their atoms, in Å;
        exact where the cell is `rounded`."""
        return (
            torch.einsum("cla,clab->clb", self.lane_wrap, cell[system_idx[self.lane_atom]]),
            torch.einsum("ra,rab->rb", self.image_shift, cell[system_idx[self.image_atom]]),
        )

    def receivers(self, positions: Tensor, moved: Tensor) -> Tensor:
        """Positions [clusters, 3, lanes]."""
        return (positions[self.lane_atom] + moved).transpose(1, 2).contiguous()

    def of_atoms(self, sums: Tensor) -> Tensor:
        """[clusters, sums, lanes] -> [atoms, sums]."""
        return sums.transpose(1, 2).reshape(-1, sums.shape[1]).index_select(0, self.place)


def rounded(lengths: Tensor) -> Tensor:
    """To multiples of 2⁻³⁶ Å."""
    return (lengths / _GRAIN).round() * _GRAIN


def build_clusters(
    positions: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor, element: Tensor,
    n_elements: int, cutoffs: tuple[float, float], skin: float, lanes: int, compiled: bool,
) -> Clusters:  # fmt: skip
    """Lists that hold until atoms have used up the skin.

    positions [atoms, 3] and cell `rounded`, element [atoms] int64; cutoffs near and far, Å.
    """
    counts = torch.bincount(system_idx, minlength=len(cell)).tolist()
    first, rows, parts = 0, 0, []
    for k, n in enumerate(counts):
        atoms = slice(first, first + n)
        system = _System(positions[atoms], cell[k], pbc[k], element[atoms], n_elements, compiled)
        parts.append(system.build(cutoffs, skin, lanes, first, rows))
        first, rows = first + n, rows + len(parts[-1][2])
    lane_atom, lane_wrap, image_atom, image_shift = (
        torch.cat([part[i] for part in parts]) for i in range(4)
    )
    place = torch.empty(len(positions), dtype=torch.int64, device=positions.device)
    flat = lane_atom.flatten()
    place[flat.flip(0)] = torch.arange(len(flat) - 1, -1, -1, device=flat.device)
    lists = []
    for i, cutoff in enumerate(cutoffs):
        counted = torch.cat([part[4][i][0] for part in parts])
        start = torch.cat([counted.new_zeros(1), counted.cumsum(0)])
        sender = torch.cat([part[4][i][1] for part in parts])
        lists.append(PairList(start, sender, cutoff))
    return Clusters(lane_atom, lane_wrap, place, image_atom, image_shift, *lists)


class _System:
    """One system of the batch."""

    def __init__(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, element: Tensor, n_elements: int,
        compiled: bool,
    ) -> None:  # fmt: skip
        self.element, self.n_elements, self.device = element, n_elements, positions.device
        self.compiled = compiled
        lattice = cell * pbc.unsqueeze(1)
        self.lattice, self.pbc = lattice, pbc
        self.reciprocal = torch.linalg.pinv(lattice)  # columns; zero along what is not periodic
        self.wrap = -torch.floor(positions @ self.reciprocal) * pbc
        self.positions = positions + self.wrap @ lattice

    def build(
        self, cutoffs: tuple[float, float], skin: float, lanes: int, first: int, first_row: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """Lanes, their wraps, images, their shifts, and (counts, senders) of each cutoff."""
        reach = [cutoff + skin + _MARGIN for cutoff in cutoffs]
        lane_atom = self._lanes(lanes)
        atom, shift = self._images(reach[1])
        found = self._lists(lane_atom, atom, shift, reach)
        lists = [(counts, rows.add_(first_row)) for counts, rows in found]
        shift = shift + self.wrap[atom]
        return lane_atom + first, self.wrap[lane_atom], atom + first, shift, lists

    def _lanes(self, lanes: int) -> Tensor:
        """Atoms that are close to each other, by halving."""
        x = self.positions.cpu().numpy()
        waiting, found = [np.arange(len(x))] if len(x) else [], []
        while waiting:
            atoms = waiting.pop()
            if len(atoms) <= lanes:
                found.append(np.pad(atoms, (0, lanes - len(atoms)), mode="edge"))
                continue
            half = -(-len(atoms) // (2 * lanes)) * lanes
            order = np.argpartition(x[atoms, np.ptp(x[atoms], axis=0).argmax()], half)
            waiting += [atoms[order[half:]], atoms[order[:half]]]
        table = np.array(found, dtype=np.int64).reshape(-1, lanes)
        return torch.from_numpy(table).to(self.device)

    def _images(self, reach: float) -> tuple[Tensor, Tensor]:
        """Atoms and shifts of all images that are within `reach` of the cell."""
        margins = reach * self.reciprocal.norm(dim=0)  # in lattice vectors
        most = torch.ceil(margins).long().tolist()
        axes = [torch.arange(-n, n + 1, device=self.device, dtype=torch.float64) for n in most]
        shifts = torch.cartesian_prod(*axes)
        at = self.positions @ self.reciprocal
        order = torch.argsort(self.element, stable=True)
        atoms, shift_numbers = [], []
        for some in order.split(max(1, 2**22 // len(shifts))):
            place = at[some].unsqueeze(1) + shifts
            is_near = (place >= -margins - 1e-9) & (place <= 1.0 + margins + 1e-9)
            a, s = torch.nonzero((is_near | ~self.pbc).all(dim=2), as_tuple=True)
            atoms.append(some[a])
            shift_numbers.append(s)
        if not atoms:
            return order, shifts[:0]
        return torch.cat(atoms), shifts[torch.cat(shift_numbers)]

    def _lists(
        self, lane_atom: Tensor, atom: Tensor, shift: Tensor, reach: list[float]
    ) -> list[tuple[Tensor, Tensor]]:
        """Of each reach: counts per cluster and element, and the rows of the senders."""
        images = (self.positions[atom] + shift @ self.lattice).float().T.contiguous()
        receivers, element = self.positions[lane_atom].float(), self.element[atom]
        found = [([], []) for _ in reach]
        for group in receivers.split(_GROUP):
            box = group.amin(dim=(0, 1))[None], group.amax(dim=(0, 1))[None]
            some = torch.nonzero(_distance2(images, *box)[0] <= reach[1] ** 2).squeeze(1)
            near_far = self._of_group(group, images[:, some], element[some], reach)
            rows_of_some = some.to(torch.int32)
            for (counts, rows), (new_counts, columns) in zip(found, near_far, strict=True):
                counts.append(new_counts)
                rows.append(rows_of_some[columns])
        none = torch.empty(0, dtype=torch.int32, device=self.device)
        return [(torch.cat([none.long(), *c]), torch.cat([none, *r])) for c, r in found]

    def _of_group(
        self, receivers: Tensor, images: Tensor, element: Tensor, reach: list[float]
    ) -> list[tuple[Tensor, Tensor]]:
        """The same for some clusters [clusters, lanes, 3] and images [3, images]."""
        if self.compiled:
            from fastequi.kernels.cpu.pair_lists import pair_lists

            ends = torch.bincount(element, minlength=self.n_elements).cumsum(0)
            start = torch.nn.functional.pad(ends, (1, 0))
            numbers = torch.arange(len(element), dtype=torch.int32)
            by_axis = receivers.transpose(1, 2).contiguous()
            return pair_lists(by_axis, images, numbers, start, (reach[0], reach[1]))
        distance2 = _distance2(images, receivers.amin(dim=1), receivers.amax(dim=1))
        found = []
        for r in reach:
            cluster, column = torch.nonzero(distance2 <= r**2, as_tuple=True)
            segment = cluster * self.n_elements + element[column]
            n = len(receivers) * self.n_elements
            found.append((torch.bincount(segment, minlength=n), column))
        return found


def _distance2(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Squares of distances [boxes, points] of points [3, points] from boxes [boxes, 3]."""
    total = points.new_zeros(())
    for x, a, b in zip(points, low.T, high.T, strict=True):
        total = total + torch.maximum(a[:, None] - x, x - b[:, None]).clamp_(min=0.0).square_()
    return total
