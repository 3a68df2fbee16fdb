"""D3: Grimme's dispersion with Becke-Johnson damping, of atoms that move.

E = -1/2 sum over i, j of C6_ij (s6 / (r⁶ + R⁶) + s8 q / (r⁸ + R⁸)), without the three-body term.
C6 depends on the surroundings of both atoms through their coordination numbers,

    C6_ij = sum over references a, b of W_ia C6ref_ab W_jb,    W_ia ∝ exp(-4 (CN_i - CN_a)²),

(Grimme et al. 2010, eqs. 15 and 16; 2011, eqs. 5 and 6). It is linear in either W, so what is far
away comes in as a few sums per atom. Cutoffs are simple-dftd3's, and sharp as there.
"""

from dataclasses import dataclass, replace
from types import ModuleType

import torch
from ase.units import Bohr
from torch import Tensor

from fastequi.dispersion.clusters import Clusters, build_clusters, rounded
from fastequi.dispersion.tables import Damping, Elements, elements_of
from fastequi.graph import Graph, sum_by_system, volumes
from fastequi.kernels import pair_sums
from fastequi.md.neighbors.list import skin_used
from fastequi.potential import Prediction, stress_of

#: Å: of coordination numbers, and of energies.
CUTOFFS = (40.0 * Bohr, 60.0 * Bohr)
#: Å; it does not change any result.
SKIN = 1.0
#: How sharply references are told apart by coordination numbers (k3 in the paper).
_SHARPNESS = 4.0
#: Beyond this, slopes are computed twice rather than kept: 30 kB per atom of silicon.
_KEPT_BYTES = 2**29
#: A share of a reference that does not show in 1e-8 of a force.
_NEGLIGIBLE = 1e-13
#: Where xx yy zz yz xz xy stand in a matrix.
_SYMMETRIC = [0, 5, 4, 5, 1, 3, 4, 3, 2]


@dataclass(frozen=True)
class _Lists:
    """Lists, the atoms that they were built for, and what is constant as long as they are good.

    element  [atoms], row of each atom in `tables`; members, the atoms of each element
    references [atoms, references], coordination numbers, and last, 1 for that of most neighbours
    radius   [clusters, elements, lanes], damping [clusters, elements, 3, lanes]: see `pair_sums`
    slopes   memory for [entries, lanes] between two of the sums; None: computed twice
    near, far  memory for the senders of both lists: [rows, 4], and as many columns as may be asked
    """

    graph: Graph
    clusters: Clusters
    tables: Elements
    element: Tensor
    members: list[Tensor]
    references: Tensor
    last: Tensor
    radius: Tensor
    damping: Tensor
    slopes: Tensor | None
    near: Tensor
    far: Tensor

    def is_good_for(self, graph: Graph) -> bool:
        """Whether these are its atoms, and none of them can have come into a cutoff unseen."""
        then = self.graph
        for name in ("atomic_numbers", "pbc", "system_idx"):
            if not torch.equal(getattr(then, name), getattr(graph, name)):
                return False
        if torch.equal(then.cell, graph.cell):
            furthest2 = (graph.positions - then.positions).square().sum(dim=1).amax()
            if 4.0 * furthest2 <= SKIN**2:
                return True
        used = skin_used(then.positions, then.cell, graph.positions, graph.cell, graph.pbc,
                         graph.system_idx, CUTOFFS[1] + SKIN)  # fmt: skip
        return bool((used <= SKIN).all())


class D3:
    """Energies, forces and stress of dispersion; keeps its lists as long as they are good.

    rebuilds: how often they were built.
    """

    def __init__(self, damping: Damping, compiled: bool = True) -> None:
        """compiled: with kernels for this processor, where the atoms are on the CPU."""
        self.damping, self.compiled, self.rebuilds = damping, compiled, 0
        self._lists: _Lists | None = None
        self._moved: tuple[Clusters, Tensor, tuple[Tensor, Tensor]] | None = None

    @torch.no_grad()
    def __call__(self, graph: Graph) -> Prediction:
        """Of all atoms of a graph, whose edges are not looked at.

        Raises InputError for elements without parameters.
        """
        if not graph.n_atoms:
            none = graph.positions.new_zeros((0, 9))
            return _prediction(graph, none[:, 0], none)
        if self._lists is None or not self._lists.is_good_for(graph):
            self._lists = self._build(graph)
        lists, sums = self._lists, self._sums(graph.positions.device)
        found, positions = lists.clusters, rounded(graph.positions)
        lanes_moved, images_moved = self._moved_from(graph)
        receivers = found.receivers(positions, lanes_moved)

        near, atoms = lists.near, torch.nn.functional.pad(positions, (0, 1))
        sums.place_(near, atoms, found.image_atom, images_moved)
        counted = sums.count(found.near, receivers, near, lists.radius, lists.slopes)
        weights, slopes = _weights(found.of_atoms(counted)[:, 0], lists)
        columns = _that_count(weights, slopes, lists)

        shares = weights.gather(1, columns[lists.element])
        atoms = torch.cat([positions, shares], dim=1)
        far = lists.far[: len(near) * atoms.shape[1]].view(len(near), -1)
        sums.place_(far, atoms, found.image_atom, images_moved)
        a_and_b = _a_and_b(weights, slopes, lists, columns)
        a_and_b = a_and_b[found.lane_atom].movedim(1, -1).contiguous()
        direct = sums.pair_energies(found.far, receivers, far, lists.damping, a_and_b)
        direct = found.of_atoms(direct)

        q = -direct[:, 1]
        sums.put_(near, q, found.image_atom)
        through = sums.chain(
            found.near, receivers, near, lists.radius, q[found.lane_atom], lists.slopes
        )
        return _prediction(graph, -0.5 * direct[:, 0], direct[:, 2:] + found.of_atoms(through))

    def _moved_from(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """`Clusters.moved`, which most ensembles never change."""
        assert self._lists is not None
        clusters, last = self._lists.clusters, self._moved
        if last is None or last[0] is not clusters or not torch.equal(last[1], graph.cell):
            moved = clusters.moved(rounded(graph.cell), graph.system_idx)
            last = self._moved = clusters, graph.cell.clone(), moved
        return last[2]

    def _sums(self, device: torch.device) -> ModuleType:
        if not self.compiled or device.type != "cpu":
            return pair_sums
        from fastequi.kernels.cpu import pair_sums as compiled

        return compiled

    def _build(self, graph: Graph) -> _Lists:
        numbers, element = torch.unique(graph.atomic_numbers, return_inverse=True)
        tables = elements_of(tuple(numbers.tolist())).to(graph.positions.device)
        sums = self._sums(graph.positions.device)
        clusters = build_clusters(
            rounded(graph.positions), rounded(graph.cell), graph.pbc, graph.system_idx, element,
            len(numbers), CUTOFFS, SKIN, sums.lanes(), sums is not pair_sums,
        )  # fmt: skip
        p, of_lane = self.damping, element[clusters.lane_atom]
        R = p.a1 * tables.ratio.sqrt() + p.a2 * Bohr
        damping = torch.stack([R**6, R**8, p.s8 / p.s6 * tables.ratio], dim=-1)
        tables = replace(tables, c6=p.s6 * tables.c6)
        radius = tables.radius[:, None] + tables.radius
        self.rebuilds += 1
        slopes = torch.empty(
            (len(clusters.near.sender), sums.lanes()), dtype=torch.float64, device=element.device
        )  # a page of it takes memory when it is written to
        near = torch.empty(
            (len(clusters.image_atom), 4), dtype=torch.float64, device=element.device
        )
        far = near.new_empty(len(near) * (3 + tables.coordination.shape[1]))
        names = ("positions", "cell", "atomic_numbers", "pbc", "system_idx")
        then = {name: getattr(graph, name).clone() for name in names}  # others write into theirs
        references = tables.coordination[element]
        last = (references == references.amax(dim=1, keepdim=True)).to(torch.float64)
        members = [torch.nonzero(element == z).squeeze(1) for z in range(len(numbers))]
        return _Lists(
            replace(graph, **then), clusters, tables, element, members, references, last,
            radius=radius[of_lane].movedim(1, -1).contiguous(),
            damping=damping[of_lane].movedim(1, -1).contiguous(),
            slopes=slopes if slopes.nbytes <= _KEPT_BYTES else None, near=near, far=far,
        )  # fmt: skip


def _weights(coordination: Tensor, lists: _Lists) -> tuple[Tensor, Tensor]:
    """W [atoms, references] and dW/dCN."""
    references = lists.references
    apart = coordination.unsqueeze(1) - references
    g = torch.where(references >= 0.0, torch.exp(-_SHARPNESS * apart**2), 0.0)
    slope = -2.0 * _SHARPNESS * apart * g
    norm = g.sum(dim=1, keepdim=True)
    is_lost = norm == 0.0  # too far from all references: the one of most neighbours counts
    norm = torch.where(is_lost, 1.0, norm)
    weights = g / norm
    slopes = (slope - weights * slope.sum(dim=1, keepdim=True)) / norm
    return torch.where(is_lost, lists.last, weights), slopes


def _that_count(weights: Tensor, slopes: Tensor, lists: _Lists) -> Tensor:
    """Of each element the references that any of its atoms is like now [elements, columns].

    In a crystal that is two or three of five. Elements that have fewer are filled up with others.
    """
    counts = torch.maximum(weights, slopes.abs())
    element = lists.element.unsqueeze(1).expand_as(counts)
    most = torch.zeros_like(lists.tables.coordination).scatter_reduce(0, element, counts, "amax")
    does = most > _NEGLIGIBLE
    columns = torch.argsort(does, dim=1, descending=True, stable=True)
    return columns[:, : int(does.sum(dim=1).max())]


def _a_and_b(weights: Tensor, slopes: Tensor, lists: _Lists, columns: Tensor) -> Tensor:
    """A and B [atoms, elements, 2, columns]: C6_ij = A_i·W_j, dC6_ij/dCN_i = B_i·W_j."""
    both, tables = torch.stack([weights, slopes], dim=1), lists.tables
    out = both.new_empty((len(both), len(columns), 2, columns.shape[1]))
    for mine, c6 in zip(lists.members, tables.c6, strict=True):
        kept = c6.gather(2, columns.unsqueeze(1).expand(-1, c6.shape[1], -1))
        out[mine] = torch.einsum("axr,ers->aexs", both[mine], kept)
    return out


def _prediction(graph: Graph, energies: Tensor, totals: Tensor) -> Prediction:
    """totals [atoms, 9]: forces, and xx yy zz yz xz xy of the virial dE/dstrain."""
    energy = sum_by_system(energies, graph.system_idx, graph.n_systems)
    virial = sum_by_system(totals[:, 3:], graph.system_idx, graph.n_systems)
    stress = stress_of(virial[:, _SYMMETRIC].view(-1, 3, 3), volumes(graph.cell))
    return Prediction(energy, energies, totals[:, :3].contiguous(), stress)
