"""The diamond crystal at rest: lattice constant, E(V), elastic constants.

All in float64: strains of a thousandth change the energy by less than float32 resolves.
"""

import os

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from ase.units import GPa
from numpy.typing import NDArray
from scipy import optimize

from benchmarks.silicon.properties import DATA, PBE, ZUO, Property, Section, near

STRAIN = 0.004
#: Forces to which atoms are relaxed inside a strained cell, eV/Å.
FORCE_TOLERANCE = 1e-4
VOLUME_RANGE, VOLUMES = 0.08, 17


def crystal(a: float, calculator: Calculator | None = None) -> Atoms:
    """The cubic cell of 8 atoms with lattice constant a in Å."""
    atoms = bulk("Si", "diamond", a, cubic=True)
    atoms.calc = calculator
    return atoms


def lattice_constant(calculator: Calculator) -> float:
    """Lattice constant in Å: where the pressure is zero."""
    found = optimize.root_scalar(
        lambda a: pressure_GPa(crystal(a, calculator)), bracket=(5.2, 5.7), xtol=1e-6
    )
    return float(found.root)


def pressure_GPa(atoms: Atoms) -> float:
    return -float(atoms.get_stress()[:3].mean()) / GPa


def energy_of_volume(
    calculator: Calculator, a: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volumes in Å³/atom around the equilibrium, and energies in eV/atom."""
    scale = 1.0 + np.linspace(-VOLUME_RANGE, VOLUME_RANGE, VOLUMES)
    volumes = scale * a**3 / 8
    cells = [crystal(float((8 * v) ** (1 / 3)), calculator) for v in volumes]
    return volumes, np.array([cell.get_potential_energy() / len(cell) for cell in cells])


def birch_murnaghan(v, e0, v0, b0, b1):
    """Energy in eV at volume v in Å³; b0 in eV/Å³ (Birch, Phys. Rev. 71, 809, 1947)."""
    x = (v0 / v) ** (2 / 3)
    return e0 + 9 / 16 * v0 * b0 * ((x - 1) ** 3 * b1 + (x - 1) ** 2 * (6 - 4 * x))


def elastic_constants(calculator: Calculator, a: float) -> dict[str, float]:
    """C11, C12, C44 and, with the atoms held in place, 'C44 clamped', in GPa.

    Central differences of the stress; the shear shifts the two sublattices against each other.
    """
    pulled = _difference(calculator, a, 0, 0, relaxed=False)  # by symmetry nothing relaxes
    return {
        "C11": float(pulled[0]),
        "C12": float(pulled[1:3].mean()),
        "C44": float(_difference(calculator, a, 1, 2, relaxed=True)[3]),
        "C44 clamped": float(_difference(calculator, a, 1, 2, relaxed=False)[3]),
    }


def _difference(
    calculator: Calculator, a: float, i: int, j: int, relaxed: bool
) -> NDArray[np.float64]:
    """Derivative [6] in GPa of the stress by the (engineering) strain of axes i and j."""
    stresses = []
    for sign in (1.0, -1.0):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * sign * STRAIN
        strain[j, i] += 0.5 * sign * STRAIN
        atoms = crystal(a, calculator)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        if relaxed:
            BFGS(atoms, logfile=os.devnull).run(fmax=FORCE_TOLERANCE, steps=100)
        stresses.append(atoms.get_stress() / GPa)
    return (stresses[0] - stresses[1]) / (2.0 * STRAIN)


def check(calculator: Calculator) -> Section:
    """Everything above, beside PBE."""
    a = lattice_constant(calculator)
    volumes, energies = energy_of_volume(calculator, a)
    start = (energies.min(), a**3 / 8, 90 * GPa, 4.0)
    fit, _ = optimize.curve_fit(birch_murnaghan, volumes, energies, p0=start)
    c = elastic_constants(calculator, a)
    at_rest = crystal(a, calculator)
    away = np.abs(at_rest.get_stress()).max() / GPa
    found = [
        near("lattice constant", a, "Å", 5.4687, DATA, 0.5),
        Property("largest stress there", float(away), "GPa", 0.0, "symmetry", high=0.01),
        near("bulk modulus, E(V)", float(fit[2] / GPa), "GPa", 89.0, f"{DATA}; Zuo 95", 15.0),
        near("its pressure derivative", float(fit[3]), "", 4.2, PBE, 30.0),
        near("C11", c["C11"], "GPa", 153.0, f"{DATA}; Zuo 156, Materials Project 144", 15.0),
        near("C12", c["C12"], "GPa", 56.0, f"{DATA}; Zuo 65, Materials Project 53", 15.0),
        near("C44", c["C44"], "GPa", 76.0, f"{ZUO}; Materials Project 75", 15.0),
        near("C44, atoms in place", c["C44 clamped"], "GPa", 99.0, DATA, 15.0),
        Property("(C11 + 2 C12) / 3", (c["C11"] + 2 * c["C12"]) / 3, "GPa", 89.0, DATA),
    ]
    curves = {"volume": volumes.tolist(), "energy": energies.tolist(), "fit": fit.tolist()}
    return Section(found, curves)
