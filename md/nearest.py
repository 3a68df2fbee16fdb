"""Who is near whom: pairs of atoms, and the neighbour that an atom has nearest."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.graph import edge_vectors
from fastequi.md.checks import atom_name
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import State


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs within a radius, each once: first, second [pairs], indices of atoms; distance
    [pairs] in Å. An atom and an image of itself are a pair too."""

    first: Tensor
    second: Tensor
    distance: Tensor


def pairs_within(state: State, radius_A: float) -> Pairs:
    """Of a state whose positions are finite; on the CPU."""
    host = state.to("cpu")
    near = NeighborList(radius_A, skin=0.0)
    graph = near.graph(host.positions, host.atomic_numbers, host.cell, host.pbc, host.system_idx)
    distance = edge_vectors(graph).norm(dim=1)
    once = torch.nonzero((graph.edge_dst <= graph.edge_src) & (distance <= radius_A)).squeeze(1)
    return Pairs(graph.edge_dst[once], graph.edge_src[once], distance[once])


def pair_name(state: State, pairs: Pairs, k: int) -> str:
    """'atom 3 (Si) and atom 7 (Si), 0.3 Å apart'."""
    i, j = int(pairs.first[k]), int(pairs.second[k])
    other = "its own image" if i == j else atom_name(state, j)
    return f"{atom_name(state, i)} and {other}, {float(pairs.distance[k]):.3g} Å apart"


def nearest_name(state: State, atom: int, radius_A: float = 4.0) -> str:
    """'nearest atom 7 (Si) at 1.9 Å' of an atom; that there is none within the radius."""
    pairs = pairs_within(state, radius_A)
    mine = (pairs.first == atom) | (pairs.second == atom)
    if not bool(mine.any()):
        return f"nothing within {radius_A:g} Å"
    k = int(torch.where(mine, pairs.distance, torch.inf).argmin())
    i, j = int(pairs.first[k]), int(pairs.second[k])
    other = "its own image" if i == j else atom_name(state, j if i == atom else i)
    return f"nearest {other} at {float(pairs.distance[k]):.3g} Å"
