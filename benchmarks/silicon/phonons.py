"""Phonons of the crystal by finite displacements: frequencies, dispersion, imaginary modes.

Force constants between an atom of the first cell and one in the supercell belong to the shortest
vector between them; where several images are equally near they share them (as in Parlinski, Li and
Kawazoe, Phys. Rev. Lett. 78, 4063, 1997). float64: displacements of 0.01 Å.
"""

from itertools import product

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from benchmarks.silicon.properties import MEASURED, PBE, Effort, Property, Section, near
from fastequi.units import ACCELERATION_A_PER_FS2

DISPLACEMENT_A = 0.01
#: Two images are equally near within this, in Å.
SAME_A = 1e-4
PATH, POINTS = "GXKGL", 121
THZ_PER_FS = 1e3


class Phonons:
    """Force constants of a crystal in an n x n x n supercell of its primitive cell."""

    def __init__(self, calculator: Calculator, a: float, n: int) -> None:
        self.cell = bulk("Si", "diamond", a)
        supercell = self.cell.repeat(n)  # cell by cell: atoms 0 and 1 are the first cell
        supercell.calc = calculator
        size = len(self.cell)
        self.constants = _force_constants(supercell, size)
        self.images = [
            [_nearest_images(supercell, i, j) for j in range(len(supercell))] for i in range(size)
        ]

    def frequencies_THz(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """The frequencies [3 x atoms] at wave vector k [3] in 1/Å; imaginary ones are negative."""
        size = len(self.cell)
        matrix = np.zeros((size, 3, size, 3), dtype=complex)
        masses = self.cell.get_masses()
        for i, j in product(range(size), range(len(self.images[0]))):
            # From cell to cell, not from atom to atom: a choice of phase that changes no frequency.
            phase = np.exp(1j * self.images[i][j] @ k).mean()
            weight = phase / np.sqrt(masses[i] * masses[j % size])
            matrix[i, :, j % size] += weight * self.constants[i, :, j]
        flat = matrix.reshape(3 * size, 3 * size)
        squares = np.linalg.eigvalsh(0.5 * (flat + flat.conj().T)) * ACCELERATION_A_PER_FS2
        return np.sign(squares) * np.sqrt(np.abs(squares)) / (2 * np.pi) * THZ_PER_FS


def _force_constants(supercell, size: int) -> NDArray[np.float64]:
    """Second derivatives [atom of the cell, 3, atom, 3] of the energy in eV/Å²; their sum is 0."""
    constants = np.zeros((size, 3, len(supercell), 3))
    rest = supercell.positions.copy()
    for i, axis in product(range(size), range(3)):
        forces = []
        for sign in (1.0, -1.0):
            supercell.positions[i, axis] = rest[i, axis] + sign * DISPLACEMENT_A
            forces.append(supercell.get_forces())
        supercell.positions[:] = rest
        constants[i, axis] = (forces[1] - forces[0]) / (2 * DISPLACEMENT_A)
    for i in range(size):  # moving all atoms together costs nothing
        constants[i, :, i] -= constants[i].sum(axis=1)
    return constants


def _nearest_images(supercell, i: int, j: int) -> NDArray[np.float64]:
    """Vectors [images, 3] in Å from atom i to the images of atom j that are nearest."""
    shifts = np.array(list(product((-1, 0, 1), repeat=3))) @ supercell.cell.array
    vectors = supercell.positions[j] - supercell.positions[i] + shifts
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors[lengths < lengths.min() + SAME_A]


def dispersion(phonons: Phonons) -> dict[str, list]:
    """Frequencies in THz along Γ-X-K-Γ-L: distances, labels, and a list per point."""
    path = phonons.cell.cell.bandpath(PATH, npoints=POINTS)
    x, ticks, labels = path.get_linear_kpoint_axis()
    frequencies = [phonons.frequencies_THz(2 * np.pi * k) for k in path.cartesian_kpts()]
    names = [label.replace("G", "Γ") for label in labels]
    return {
        "x": x.round(5).tolist(),
        "ticks": ticks.tolist(),
        "labels": names,
        "THz": np.array(frequencies).round(4).tolist(),
    }


def check(calculator: Calculator, a: float, effort: Effort) -> Section:
    phonons = Phonons(calculator, a, effort.phonon_cells)
    special = phonons.cell.cell.bandpath(PATH, npoints=0)
    at = {
        name: phonons.frequencies_THz(2 * np.pi * (point @ special.icell.array))
        for name, point in special.special_points.items()
    }
    curves = dispersion(phonons)
    lowest = float(np.min(curves["THz"]))
    found = [
        near("optical mode at Γ", at["G"][-1], "THz", 15.2, f"{PBE}; {MEASURED} 15.5", 5.0),
        near("transverse acoustic at X", at["X"][0], "THz", 4.2, f"{PBE}; {MEASURED} 4.5", 20.0),
        near("transverse optical at X", at["X"][-1], "THz", 13.6, f"{PBE}; {MEASURED} 13.9", 8.0),
        near("transverse acoustic at L", at["L"][0], "THz", 3.2, f"{PBE}; {MEASURED} 3.4", 25.0),
        Property("lowest of Γ-X-K-Γ-L", lowest, "THz", 0.0, "a stable crystal", low=-0.05),
    ]
    return Section(found, curves)
