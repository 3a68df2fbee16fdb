"""Pairs: the two directed edges between the same two atoms, counted once.

Radial functions depend on the distance alone, so training computes them per pair.
"""

import torch
from torch import Tensor

from fastequi.errors import InputError


def undirected_pairs(
    edge_src: Tensor, edge_dst: Tensor, edge_shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The pair of every edge [edges], and the first edge of every pair [pairs]; int64.

    The edges (i <- j, S) and (j <- i, -S) are one pair, an atom and its own images included.
    Edges may come in any order; pairs are numbered in the order of their first edges, which are
    those that receive at the lower atom (for self-images: with the lower shift).

    Raises InputError for an edge without its reverse.
    """
    n_edges = edge_src.shape[0]
    if n_edges == 0:
        return edge_src.new_empty(0), edge_src.new_empty(0)
    forward, backward = _keys(edge_src, edge_dst, edge_shift)
    is_first = forward < backward
    first = torch.nonzero(is_first).squeeze(1)
    pair = torch.empty_like(edge_src)
    pair[first] = torch.arange(first.shape[0], device=first.device)

    second = torch.nonzero(~is_first).squeeze(1)
    keys, order = torch.sort(forward[first])
    wanted = backward[second]
    place = torch.searchsorted(keys, wanted).clamp_(max=max(first.shape[0] - 1, 0))
    if first.shape[0] != second.shape[0] or not torch.equal(keys[place], wanted):
        raise InputError("the neighbour list lacks the reverse of an edge; give a full list")
    pair[second] = order[place]
    return pair, first


def _keys(edge_src: Tensor, edge_dst: Tensor, edge_shift: Tensor) -> tuple[Tensor, Tensor]:
    """One integer for (dst, src, S) of each edge, and one for its reverse (src, dst, -S)."""
    shift = edge_shift.to(torch.int64)
    n_atoms = int(torch.maximum(edge_src.max(), edge_dst.max())) + 1
    reach = int(shift.abs().max())
    span = 2 * reach + 1
    if n_atoms**2 * span**3 < 2**63:
        base = torch.tensor([span**2, span, 1], device=shift.device)
        there, back = ((s + reach).mul(base).sum(dim=1) for s in (shift, -shift))
        n_shifts = span**3
    else:  # atoms far outside of their cells: number the shifts that occur, in lexical order
        known, number = torch.unique(torch.cat([shift, -shift]), dim=0, return_inverse=True)
        there, back = number.chunk(2)
        n_shifts = known.shape[0]
    forward = (edge_dst * n_atoms + edge_src) * n_shifts + there
    backward = (edge_src * n_atoms + edge_dst) * n_shifts + back
    return forward, backward
