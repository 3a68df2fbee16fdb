"""A cell as LAMMPS holds it: a triangle of lattice vectors, turned, and the same lattice.

LAMMPS wants a along x, b in the plane of x and y, a right-handed cell, tilts of half a length at
most, and along open directions just a box. Lengths in Å; rows are lattice vectors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """cell = lattice @ triangle @ turn, along the directions that are periodic.

    lattice   [3, 3] whole numbers, lower triangular
    triangle  [3, 3] lower triangular; along an open direction 1
    turn      [3, 3] a rotation; positions of LAMMPS are those of the structure @ turn.T
    """

    lattice: Matrix
    triangle: Matrix
    turn: Matrix

    @property
    def is_turned(self) -> bool:
        """Whether LAMMPS has other x, y and z than the structure."""
        return not np.allclose(self.turn, np.eye(3), rtol=0.0, atol=1e-10)

    @property
    def tilts(self) -> tuple[float, float, float]:
        """xy, xz, yz."""
        _, (xy, *_), (xz, yz, _) = self.triangle
        return xy, xz, yz

    def inwards(self, vectors: Matrix) -> Matrix:
        """Vectors [n, 3] of the structure as LAMMPS has them."""
        return vectors @ self.turn.T

    def outwards(self, vectors: Matrix) -> Matrix:
        """Vectors [n, 3] of LAMMPS as the structure has them."""
        return vectors @ self.turn

    def cell(self, triangle: Matrix) -> Matrix:
        """The cell [3, 3] of the structure when LAMMPS's box has become another triangle."""
        return self.lattice @ triangle @ self.turn


def box_of(cell: Matrix, pbc: NDArray[np.bool_]) -> Box:
    """Of a cell [3, 3] and its periodic directions [3]."""
    lattice, vectors = np.eye(3), _completed(cell, pbc)
    if np.linalg.det(vectors) < 0.0:  # all are periodic: the others are made right-handed
        lattice[2, 2], vectors[2] = -1.0, -vectors[2]
    triangle, turn = _triangle(vectors)
    for row, column in ((1, 0), (2, 1), (2, 0)):
        if pbc[row] and pbc[column]:
            n = np.round(triangle[row, column] / triangle[column, column])
            triangle[row] -= n * triangle[column]
            lattice[:, column] += n * lattice[:, row]
    return Box(lattice, triangle, turn)


def _triangle(vectors: Matrix) -> tuple[Matrix, Matrix]:
    """(triangle, turn) of right-handed vectors; nothing is turned that need not be."""
    if np.all(np.triu(vectors, 1) == 0.0) and np.all(np.diag(vectors) > 0.0):
        return vectors.copy(), np.eye(3)
    turn, triangle = np.linalg.qr(vectors.T)
    signs = np.sign(np.diag(triangle))
    triangle = (signs[:, None] * triangle).T
    triangle[np.abs(triangle) < 1e-12 * np.abs(triangle).max()] = 0.0  # rounding is no tilt
    return triangle, (turn * signs).T


def _completed(cell: Matrix, pbc: NDArray[np.bool_]) -> Matrix:
    """The lattice vectors, and along open directions unit vectors normal to all others, so that
    the whole is right-handed."""
    vectors, open_axes = cell.copy(), np.flatnonzero(~pbc)
    if len(open_axes) == 3:
        return np.eye(3)
    if len(open_axes) == 2:
        (k,) = np.flatnonzero(pbc)
        along = vectors[k] / np.linalg.norm(vectors[k])
        axis = np.eye(3)[min(open_axes, key=lambda a: abs(along[a]))]
        normal = axis - (axis @ along) * along
        first = int(np.argmax(axis))
        vectors[first] = normal / np.linalg.norm(normal)
        open_axes = [a for a in open_axes if a != first]
    for k in open_axes:
        normal = np.cross(vectors[(k + 1) % 3], vectors[(k + 2) % 3])
        vectors[k] = normal / np.linalg.norm(normal)
    return vectors


#: LAMMPS packs three image flags, each plus 512, into ten bits each.
_BITS, _ZERO = (0, 10, 20), 512


def wrapped(
    positions: Matrix, triangle: Matrix, pbc: NDArray[np.bool_]
) -> tuple[Matrix, NDArray[np.int64]]:
    """(positions [atoms, 3] inside of the box, image flags [atoms]); see `unwrapped`."""
    images = np.zeros(positions.shape, dtype=np.int64)
    inside = positions
    for _ in range(2):  # what comes out as a whole length by rounding is wrapped once more
        n = np.floor(inside @ np.linalg.inv(triangle)) * pbc
        inside, images = inside - n @ triangle, images + n.astype(np.int64)
    return inside, ((images + _ZERO) << np.array(_BITS)).sum(axis=1)


def unwrapped(positions: Matrix, images: NDArray[np.int32], triangle: Matrix) -> Matrix:
    """Positions [atoms, 3] of LAMMPS, from its image flags [atoms], without any wrapping."""
    flags = np.stack([(images >> bits) & 1023 for bits in _BITS], axis=1) - _ZERO
    return positions + flags @ triangle
