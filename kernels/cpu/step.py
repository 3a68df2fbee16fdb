"""A step of dynamics on the CPU: everything between positions and forces that is not the network.

    edges = SkinEdges(...)            # memory of a fixed size, for a list with a skin
    edges.place(positions, cell)      # where the atoms are now
    edges.find()                      # edges within the cutoff
    ...                               # the network: energies, and `EdgeSums` of dE/dr
    edges.collect(energies, sums)     # forces, energies, virial
    edges.found()

`find` and `collect` are plans, so a program (`recording`) does them again for other positions.
"""

import functools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fastequi.graph import image_vectors, volumes
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.cpu.arrays import (
    EdgeArrays,
    most_edges,
    receivers_at_a_time,
    scratch_stride,
)
from fastequi.kernels.cpu.channels import split_receivers
from fastequi.kernels.cpu.convolution import EdgeSums
from fastequi.kernels.cpu.geometry import arguments_of, kernel
from fastequi.kernels.cpu.repulsion import RepulsionSpec
from fastequi.kernels.cpu.repulsion import kernel as repulsion_kernel
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import Named
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.llvm.program import recording
from fastequi.kernels.llvm.target import lanes_of
from fastequi.kernels.parts import PairRepulsion, SkinList
from fastequi.potential import stress_of

__all__ = ["MOST_ATOMS", "SkinEdges", "energies", "recording"]

#: Atoms up to which a force call is one program: beyond, what lies between the kernels is a few per
#: cent, and memory that is kept for each step of the walk would be missed.
MOST_ATOMS = 2_000

#: Room for lists that follow, as a share of the first one.
_ROOM = 1.1


class SkinEdges:
    """Memory for the edges of a list, and of lists to come that are little longer.

    by_atom, by_species, vectors   edges within the cutoff, as the convolution takes them
    forces [atoms, 3], energies [atoms], energy [systems], virial [systems, 3, 3]: what is found,
    float64, in the order of the graph
    """

    def __init__(self, given: SkinList, n_systems: int, cutoff: float, dtype: torch.dtype) -> None:
        n, room = len(given.atoms), int(given.edges.n_edges * _ROOM) + 64
        self.n_atoms, self.n_systems, self.room, self.dtype = n, n_systems, room, dtype
        self.n_threads = threads.n_threads()
        self.is_scaled, lanes = given.edges.cutoff_scale is not None, lanes_of(dtype)
        stride = room + lanes
        self.sizes = {"edge_stride": stride, "skin_stride": room}
        long = {"skin_start": n + 1, "atoms": n, "system": n, "counts": n, "row_start": n + 1}
        of_edges = ("skin_atom", "skin_sender", "skin_sender_species", "reverse", "sender",
                    "sender_species", "kept", "place")  # fmt: skip
        long |= dict.fromkeys(of_edges, room)
        self.tensors = {name: torch.zeros(size, dtype=torch.int64) for name, size in long.items()}
        exact = {
            "positions": (n, 3), "image_vectors": (3, room), "cutoff2": (1,), "nearest2": (n,),
            "exact": (room, 3), "gradient": (room, 3), "received": (n, 3), "virials": (n, 9),
            "forces": (n, 3), "energies": (n,), "energy": (n_systems,), "virial": (n_systems, 9),
        }  # fmt: skip
        self.tensors |= {k: torch.zeros(shape, dtype=torch.float64) for k, shape in exact.items()}
        self.tensors["cutoff2"].fill_(cutoff**2)
        self.tensors["vectors"] = torch.ones((3, stride), dtype=dtype)
        if self.is_scaled:
            self.tensors |= {
                "cutoff_scale": torch.ones((1, stride), dtype=dtype),
                "skin_scale": torch.ones(room, dtype=dtype),
            }
        self.vectors = self.tensors["vectors"].T
        self.cuts = self._cuts(given)
        self._blocks(given)
        self.take_(given)

    def __getattr__(self, name: str) -> Tensor:
        if name == "tensors" or name not in self.tensors:
            raise AttributeError(name)
        return self.tensors[name]

    def _cuts(self, given: SkinList) -> list[int]:
        pieces = split_receivers(given.edges.row_start, threads.n_threads())
        return [0, *(last for _, last in pieces)]

    def _blocks(self, given: SkinList) -> None:
        """Edges as the convolution takes them, with room for a little more in each row."""
        n, n_within = self.n_atoms, given.edges.n_edges // 2  # about, of a list with a skin
        self.block = receivers_at_a_time(n, n_within, self.dtype)
        self.most = int(most_edges(given.edges.row_start, self.block) * _ROOM)
        sizes = {
            "n_receivers": n,
            "edge_stride": self.sizes["edge_stride"],
            "block": self.block,
            "scratch_stride": scratch_stride(self.most, self.dtype),
        }
        tensors = {name: self.tensors[name] for name in ("row_start", "sender", "vectors")}
        if self.is_scaled:
            tensors["cutoff_scale"] = self.tensors["cutoff_scale"]
        arrays = EdgeArrays(tensors, sizes, self.room, {threads.n_threads(): self.cuts})
        scale = self.tensors["cutoff_scale"][0] if self.is_scaled else None
        self.by_atom = Edges(self.sender, self.sender, self.row_start, scale)
        self.by_atom.keep("vectors", (self.vectors,), self.dtype, lambda: arrays)
        self.by_species = self.by_atom.from_senders(self.sender_species)

    def fits(self, given: SkinList, n_systems: int) -> bool:
        """Whether there is room for another list of the same atoms."""
        return (
            given.edges.n_edges <= self.room
            and n_systems == self.n_systems
            and (given.edges.cutoff_scale is not None) == self.is_scaled
            and most_edges(given.edges.row_start, self.block) <= self.most
            and torch.equal(given.atoms, self.atoms)
            and torch.equal(given.system, self.system)
        )

    def take_(self, given: SkinList) -> None:
        """Another list."""
        n = given.edges.n_edges
        assert given.edges.reverse is not None
        self.atoms.copy_(given.atoms)
        self.system.copy_(given.system)
        self.skin_start.copy_(given.edges.row_start)
        self.skin_sender[:n] = given.edges.sender
        self.skin_atom[:n] = given.atoms[given.edges.sender]
        self.skin_sender_species[:n] = given.species
        self.reverse[:n] = given.edges.reverse
        if given.edges.cutoff_scale is not None:
            self.skin_scale[:n] = given.edges.cutoff_scale
        self.shift = given.shift
        self.system_of_edge = given.system[given.atoms[given.edges.receiver]]
        self._cell = None

    def is_current(self) -> bool:
        """Whether as many threads are to share the edges as when they were shared."""
        return self.n_threads == threads.n_threads()

    def place(self, positions: Tensor, cell: Tensor) -> None:
        """Where the atoms are, [atoms, 3] and [systems, 3, 3], in the order of the graph."""
        self.positions.copy_(positions)
        if self._cell is None or cell is not self._cell[0] or cell._version != self._cell[1]:
            images = image_vectors(cell, self.system_of_edge, self.shift)
            self.image_vectors[:, : images.shape[1]] = images
            self._half_per_volume = stress_of(torch.full_like(cell, 0.5), volumes(cell))
            self._cell = cell, cell._version

    def find(self) -> None:
        """The edges within the cutoff now."""
        self._run(("count",), {})
        self._run(("pack",), {})

    def repel_(self, repulsion: PairRepulsion, sorted_energies: Tensor, sums: EdgeSums) -> None:
        """Add a repulsion to the energies of the rows and to dE/dr."""
        spec = RepulsionSpec(self.dtype, repulsion.screening, repulsion.p)
        values = {name: self.tensors[name] for name in ("vectors", "row_start", "sender_species")}
        values |= {"pairs": repulsion.pairs, "species": repulsion.species}
        values |= {"energies": sorted_energies, "dvectors": sums.tensor[0]}
        sizes = {"n_species": repulsion.pairs.shape[1], "edge_stride": self.sizes["edge_stride"]}
        cuts = {f"cut{k}": cut for k, cut in enumerate(self.cuts)}
        _repulsion_plan(spec, len(self.cuts) - 1).run({**values, **sizes, **cuts})

    def collect(self, sorted_energies: Tensor, sums: EdgeSums) -> None:
        """From the energies of the rows, float64, and dE/dr."""
        self._run(("gather",), {"dvectors": sums.tensor, "shares": len(sums.tensor)})
        sizes = {"n_systems": self.n_systems, "n_atoms": self.n_atoms}
        self._run(("forces", "totals"), {"sorted_energies": sorted_energies, **sizes})

    def found(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """energy, energies, forces, stress: copies, which the next call leaves alone."""
        virial = self.virial.view(-1, 3, 3)
        stress = (virial + virial.mT).mul_(self._half_per_volume)
        return self.energy.clone(), self.energies.clone(), self.forces.clone(), stress

    def shortest_distance_A(self) -> float:
        """Of all edges of the list, where it has one."""
        return math.sqrt(float(self.nearest2.min())) if self.n_atoms else math.inf

    def _run(self, names: tuple[str, ...], values: Mapping[str, Tensor | int]) -> None:
        cuts = {f"cut{k}": cut for k, cut in enumerate(self.cuts)}
        plan = _plan(names, self.dtype, self.is_scaled, len(self.cuts) - 1)
        plan.run({**self.tensors, **self.sizes, **cuts, **values})


def energies(read: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale read + shift [atoms] in eV, float64, from what is read out."""
    out = torch.empty(len(scale), dtype=torch.float64)
    values = {"read": read, "scale": scale, "shift": shift, "out": out, "cut0": 0}
    _plan(("energies",), read.dtype, False, 1).run(values | {"cut1": len(scale)})
    return out


@functools.cache
def _repulsion_plan(spec: RepulsionSpec, shares: int) -> Plan:
    """Threads share receivers."""

    def call(share: int) -> PlannedCall:
        arguments = {name: Named(name) for name in spec.arguments.kinds}
        rows = Named(f"cut{share}"), Named(f"cut{share + 1}")
        return PlannedCall(repulsion_kernel(spec), (*rows, 0, 0), arguments)

    return Plan([[call(share)] for share in range(shares)])


@functools.cache
def _plan(names: tuple[str, ...], dtype: torch.dtype, is_scaled: bool, shares: int) -> Plan:
    """Threads share receivers; what is 'totals' is for one of them."""
    work: list[list[PlannedCall]] = []
    for share in range(shares):
        rows = Named(f"cut{share}"), Named(f"cut{share + 1}")
        work.append([])
        for name in names:
            integers = (0, Named("n_atoms"), Named("n_systems"), 0)
            if name != "totals":
                integers = (*rows, 0, 0)
            elif share:
                continue
            kinds = arguments_of(name, dtype, is_scaled).kinds
            arguments = {argument: Named(argument) for argument in kinds}
            called = kernel(name, dtype, is_scaled)
            work[-1].append(PlannedCall(called, integers, arguments))
    return Plan(work)
