"""Phonons of the crystal: frequencies, dispersion, imaginary modes. float64."""

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator

from benchmarks.silicon.properties import MEASURED, PBE, Effort, Property, Section, near
from fastequi.properties.phonons import Phonons, phonons

PATH = "GXKGL"


def of_crystal(calculator: Calculator, a: float, cells: int) -> Phonons:
    """With so many primitive cells along each axis of the supercell."""
    atoms = bulk("Si", "diamond", a)
    atoms.calc = calculator
    height = 1.0 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1).max()
    return phonons(atoms, length_A=cells * height, path=PATH)


def check(calculator: Calculator, a: float, effort: Effort) -> Section:
    found = of_crystal(calculator, a, effort.phonon_cells)
    gamma, x, l_point = found.frequencies_THz(
        np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.5, 0.5]])
    )
    lowest = float(found.bands_THz.min())
    properties = [
        near("optical mode at Γ", gamma[-1], "THz", 15.2, f"{PBE}; {MEASURED} 15.5", 5.0),
        near("transverse acoustic at X", x[0], "THz", 4.2, f"{PBE}; {MEASURED} 4.5", 20.0),
        near("transverse optical at X", x[-1], "THz", 13.6, f"{PBE}; {MEASURED} 13.9", 8.0),
        near("transverse acoustic at L", l_point[0], "THz", 3.2, f"{PBE}; {MEASURED} 3.4", 25.0),
        Property("lowest of Γ-X-K-Γ-L", lowest, "THz", 0.0, "a stable crystal", low=-0.05),
    ]
    curves = {
        "x": found.path.round(5).tolist(),
        "ticks": found.ticks,
        "labels": found.labels,
        "THz": found.bands_THz.round(4).tolist(),
    }
    return Section(properties, curves)
