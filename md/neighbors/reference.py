"""The neighbour list by brute force: the definition that `list.py` is tested against.

Every pair of atoms in every image that could be near enough, in numpy, one system at a time.
Slow on purpose: no cell lists, no skin, no wrapping.
"""

import itertools

import numpy as np
from numpy.typing import NDArray


def reference_neighbors(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All directed edges shorter than `cutoff` of one system.

    positions [atoms, 3] and cell [3, 3] (rows are lattice vectors) in Å, pbc [3], cutoff in Å.
    Returns edge_dst [edges], edge_src [edges] and edge_shift [edges, 3], sorted by
    (dst, src, shift). An atom is not its own neighbour; its periodic images are.
    """
    edges = [np.empty((0, 5), dtype=np.int64)]
    furthest = _furthest_images(positions, cell, pbc, cutoff)
    for shift in itertools.product(*(range(-n, n + 1) for n in furthest)):
        vectors = positions[None, :] - positions[:, None] + np.array(shift) @ cell
        near = np.sum(vectors**2, axis=2) < cutoff**2
        if shift == (0, 0, 0):
            np.fill_diagonal(near, False)
        dst, src = np.nonzero(near)
        edges.append(np.column_stack([dst, src, np.tile(shift, (len(dst), 1))]))
    table = np.concatenate(edges)
    table = table[np.lexsort(table.T[::-1])]
    return table[:, 0], table[:, 1], table[:, 2:]


def _furthest_images(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
    cutoff: float,
) -> list[int]:
    """The largest |shift| along each lattice vector that can bring two atoms within `cutoff`.

    The columns of the (pseudo-)inverse are the reciprocal vectors: 1 / |b_k| is the height of the
    cell along k, and x·b_k the fractional coordinate. Atoms outside the cell widen the range.
    """
    reciprocal = np.linalg.pinv(np.where(pbc[:, None], cell, 0.0))
    if len(positions) == 0:
        return [0, 0, 0]
    spread = np.ptp(positions @ reciprocal, axis=0)
    reach = cutoff * np.linalg.norm(reciprocal, axis=0) + spread
    return [int(n) if periodic else 0 for n, periodic in zip(reach + 1e-9, pbc, strict=True)]
