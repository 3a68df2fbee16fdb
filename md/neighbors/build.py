"""Build the neighbour list of one system with vesin, in an order that depends on nothing else.

vesin (https://luthaf.fr/vesin) finds the pairs; this module sorts them by (receiver, sender,
shift), so that two lists that hold the same edges are the same arrays, and prepares what vesin
is not made for: see `_close_gaps`. The edge convention is that of `fastequi.graph`.
"""

import math

import numpy as np
import vesin
from numpy.typing import NDArray

from fastequi.errors import PhysicsError


def build_edges(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    radius: float,
) -> NDArray[np.int64]:
    """Directed edges up to `radius` of one system: [5, edges], rows dst, src, three shifts.

    positions [atoms, 3] in Å, anywhere, never wrapped; cell [3, 3] in Å, of either hand; pbc [3].
    Lattice vectors of directions that are not periodic are ignored. Columns are sorted.

    Raises PhysicsError for positions that are not finite.
    """
    if len(positions) == 0:
        return np.empty((5, 0), dtype=np.int64)
    if not np.isfinite(positions).all():
        atoms = np.flatnonzero(~np.isfinite(positions).all(axis=1))[:5]
        raise PhysicsError(f"no neighbour list: positions are not finite (atoms {atoms.tolist()})")
    lattice = np.where(pbc[:, None], cell, 0.0)
    positions = _close_gaps(positions, lattice, pbc, radius)
    finder = vesin.NeighborList(cutoff=radius, full_list=True)
    pairs, shifts = finder.compute(positions, lattice, pbc, "PS")
    return _sorted(np.concatenate([pairs.T, shifts.T], dtype=np.int64, casting="unsafe"))


def _close_gaps(
    positions: NDArray[np.float64],
    lattice: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    radius: float,
) -> NDArray[np.float64]:
    """Shrink empty stretches wider than `radius` along the non-periodic directions to `radius`.

    No pair within reach changes: its atoms are on the same side of every such stretch. vesin 0.6.2
    bins the whole extent, which for a molecule that evaporated from a slab takes minutes, and for
    one that is 10⁶ Å away ends the process by a signal.
    """
    if pbc.all() or np.ptp(positions, axis=0).max() <= 100.0 * radius:
        return positions
    rank = int(pbc.sum())
    free = np.linalg.svd(lattice)[2][rank:]  # orthonormal, normal to the lattice vectors
    for direction in free:
        height = positions @ direction
        order = np.argsort(height, kind="stable")
        excess = np.maximum(np.diff(height[order]) - 1.01 * radius, 0.0)
        drop = np.empty_like(height)
        drop[order] = np.concatenate([[0.0], np.cumsum(excess)])
        positions = positions - drop[:, None] * direction
    return positions


def _sorted(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of edges [5, edges] in lexical order: by one packed integer where it fits."""
    if edges.shape[1] == 0:
        return edges
    lowest = edges.min(axis=1)
    spans = (edges.max(axis=1) - lowest + 1).tolist()
    if math.prod(spans) >= 2**63:
        return edges[:, np.lexsort(edges[::-1])]
    key = np.zeros(edges.shape[1], dtype=np.int64)
    for row, low, span in zip(edges, lowest, spans, strict=True):
        key *= span
        key += row - low
    return edges[:, np.argsort(key)]
