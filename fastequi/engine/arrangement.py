"""A graph as the layers take it: atoms sorted by species, so that each is a range of rows.

Nothing moves where atoms are sorted already (a single species, above all). The edges of an atom
stay in their order, so that sums over them are the same to the last bit.
"""

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import Tensor

from fastequi.engine.blocks import Blocks
from fastequi.graph import Graph
from fastequi.kernels.convolution.edges import Edges, make_edges


@dataclass(frozen=True)
class Order:
    """Atoms by species.

    species  [atoms], sorted
    bounds   (species, first atom, end) of those that are present
    atoms    [atoms], which atom of the graph stands here; place, where each atom stands; None
             where all stay
    ghosts   species of the graph's last atoms, which only send and stand behind all these; None
             where there are none
    """

    species: Tensor
    bounds: tuple[tuple[int, int, int], ...]
    atoms: Tensor | None
    place: Tensor | None
    ghosts: Tensor | None = None

    @property
    def senders(self) -> Tensor:
        """Species of all rows that send."""
        return self.species if self.ghosts is None else torch.cat([self.species, self.ghosts])


class Halo(Protocol):
    """Ghosts are atoms of another process (or images of own ones): between layers, it knows what
    they send, and wants to know dE of it. Every process makes the same calls."""

    def completed(self, sent: Blocks) -> Blocks:
        """What own atoms send, and behind it what ghosts do."""
        ...

    def returned(self, gradient: Blocks) -> Blocks:
        """The gradient at what own atoms send: here, and as ghosts of others."""
        ...


def order_of(species: Tensor) -> Order:
    """From the species [atoms] of a graph."""
    ends = [0, *accumulate(torch.bincount(species).tolist())]
    bounds = tuple((s, a, b) for s, (a, b) in enumerate(pairwise(ends)) if a < b)
    if bool((species[1:] >= species[:-1]).all()):
        return Order(species, bounds, None, None)
    ordered, atoms = torch.sort(species, stable=True)
    place = torch.empty_like(atoms)
    place[atoms] = torch.arange(len(atoms), device=atoms.device)
    return Order(ordered, bounds, atoms, place)


def with_ghosts(order: Order, ghosts: Tensor) -> Order:
    """The order of own atoms, with ghosts of these species behind them."""
    place = order.place
    if place is not None:
        behind = torch.arange(len(place), len(place) + len(ghosts), device=place.device)
        place = torch.cat([place, behind])
    return replace(order, place=place, ghosts=ghosts)


@dataclass(frozen=True)
class Arrangement:
    """A graph in the order of its species.

    vectors     [edges, 3] in Å, from receiver to sender, in the arithmetic of the network
    by_atom     edges; by_species, the same with the senders' species for senders: in the first
                layer species send, not atoms
    edges       [edges], which edge of the graph stands here; None where all stay
    halo        who knows what ghosts send; None where all atoms are here
    """

    order: Order
    vectors: Tensor
    by_atom: Edges
    by_species: Edges
    edges: Tensor | None
    halo: Halo | None = None

    def atoms_back(self, values: Tensor) -> Tensor:
        """Values of atoms [atoms, ...] in the order of the graph."""
        place = self.order.place
        return values if place is None else values[place[: len(values)]]

    def edges_back(self, values: Tensor) -> Tensor:
        """Values of edges [edges, ...] in the order of the graph."""
        if self.edges is None:
            return values
        found = torch.empty_like(values)
        found[self.edges] = values
        return found

    def atoms_here(self, values: Tensor) -> Tensor:
        """Values of the graph's atoms in this order."""
        return values if self.order.atoms is None else values[self.order.atoms]

    def edges_here(self, values: Tensor) -> Tensor:
        """Values of the graph's edges in this order."""
        return values if self.edges is None else values[self.edges]


def arrange(
    graph: Graph,
    order: Order,
    vectors: Tensor,
    dtype: torch.dtype,
    cutoff_scale: Tensor | None = None,
    halo: Halo | None = None,
) -> Arrangement:
    """vectors [edges, 3] of the graph's edges; cutoff_scale [edges], see `Edges`.

    Ghosts are the graph's last atoms, and no edge is received by one.
    """
    n_receivers = len(order.species)
    by_atom, edges = _moved(make_edges(graph.edge_src, graph.edge_dst, n_receivers), order)
    if edges is not None:
        vectors = vectors[edges]
    by_atom = Edges(
        by_atom.sender, by_atom.receiver, by_atom.row_start,
        cutoff_scale if cutoff_scale is None or edges is None else cutoff_scale[edges],
    )  # fmt: skip
    by_species = by_atom.from_senders(order.senders[by_atom.sender])
    return Arrangement(order, vectors.to(dtype), by_atom, by_species, edges, halo)


def _moved(edges: Edges, order: Order) -> tuple[Edges, Tensor | None]:
    """The edges of the atoms where these stand now, and the number that each had."""
    if order.atoms is None or order.place is None:
        return edges, None
    degrees = (edges.row_start[1:] - edges.row_start[:-1])[order.atoms]
    row_start = torch.nn.functional.pad(degrees.cumsum(0), (1, 0))
    receiver = torch.repeat_interleave(degrees, output_size=edges.n_edges)
    came_from = (edges.row_start[:-1][order.atoms] - row_start[:-1])[receiver]
    numbers = torch.arange(edges.n_edges, device=receiver.device) + came_from
    return Edges(order.place[edges.sender[numbers]], receiver, row_start), numbers
