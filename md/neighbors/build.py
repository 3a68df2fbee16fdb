"""Build the neighbour list of one system with vesin, in an order that depends on nothing else.

vesin (https://luthaf.fr/vesin) finds the pairs; this module sorts them by (receiver, sender,
shift), so that two lists that hold the same edges are the same arrays, and puts systems that are
not periodic into a box: see `_boxed`. The edge convention is that of `fastequi.graph`.
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
        raise not_finite(positions)
    compact, box = _boxed(positions, np.where(pbc[:, None], cell, 0.0), pbc, radius)
    finder = vesin.NeighborList(cutoff=radius, full_list=True)
    pairs, shifts = finder.compute(compact, box, True, "PS")
    return _sorted(np.concatenate([pairs.T, shifts.T], dtype=np.int64, casting="unsafe"))


def not_finite(positions: NDArray[np.float64]) -> PhysicsError:
    """What is said of such positions [atoms, 3]."""
    atoms = np.flatnonzero(~np.isfinite(positions).all(axis=1))[:5]
    return PhysicsError(f"no neighbour list: positions are not finite (atoms {atoms.tolist()})")


def _boxed(
    positions: NDArray[np.float64],
    lattice: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    radius: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same neighbours in a box that is periodic in every direction, and has no wide gaps.

    Directions without periodicity get a lattice vector normal to all others, longer by a little
    more than `radius` than the system is high there: no image comes within reach. Before that,
    empty stretches wider than `radius` shrink to it; pairs within reach lie on one side of them.

    vesin 0.6.2 needs this: for few atoms in a large vacuum, periodic in one or two directions, it
    takes seconds to minutes, and an atom 10⁶ Å away ends the process by a signal.
    """
    if pbc.all():
        return positions, lattice
    apart = 1.01 * radius
    box = lattice.copy()
    free = np.linalg.svd(lattice)[2][int(pbc.sum()) :]  # orthonormal, normal to the lattice
    for axis, direction in zip(np.flatnonzero(~pbc), free, strict=True):
        height = positions @ direction
        order = np.argsort(height, kind="stable")
        gaps = np.diff(height[order])
        drop = np.empty_like(height)
        drop[order] = np.concatenate([[0.0], np.cumsum(np.maximum(gaps - apart, 0.0))])
        positions = positions - drop[:, None] * direction
        box[axis] = (np.minimum(gaps, apart).sum() + apart) * direction
    return positions, box


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
