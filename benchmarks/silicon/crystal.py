"""The diamond crystal at rest: lattice constant, E(V), elastic constants.

All in float64: strains of a thousandth change the energy by less than float32 resolves.
"""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.units import GPa
from scipy import optimize

from benchmarks.silicon.properties import DATA, PBE, ZUO, Property, Section, near
from fastequi.properties.elasticity import elasticity
from fastequi.properties.equation_of_state import equation_of_state


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


def check(calculator: Calculator) -> Section:
    """Everything above, beside PBE."""
    a = lattice_constant(calculator)
    at_rest = crystal(a, calculator)
    states = equation_of_state(at_rest, relax=False)  # by symmetry nothing relaxes
    elastic = elasticity(at_rest)
    c, clamped = elastic.tensor_GPa, elastic.clamped_GPa
    away = np.abs(at_rest.get_stress()).max() / GPa
    found = [
        near("lattice constant", a, "Å", 5.4687, DATA, 0.5),
        Property("largest stress there", float(away), "GPa", 0.0, "symmetry", high=0.01),
        near("bulk modulus, E(V)", states.bulk_modulus_GPa, "GPa", 89.0, f"{DATA}; Zuo 95", 15.0),
        near("its pressure derivative", states.pressure_derivative, "", 4.2, PBE, 30.0),
        near("C11", float(c[0, 0]), "GPa", 153.0, f"{DATA}; Zuo 156, Materials Project 144", 15.0),
        near("C12", float(c[0, 1]), "GPa", 56.0, f"{DATA}; Zuo 65, Materials Project 53", 15.0),
        near("C44", float(c[3, 3]), "GPa", 76.0, f"{ZUO}; Materials Project 75", 15.0),
        near("C44, atoms in place", float(clamped[3, 3]), "GPa", 99.0, DATA, 15.0),
        Property("(C11 + 2 C12) / 3", (float(c[0, 0]) + 2 * float(c[0, 1])) / 3, "GPa", 89.0, DATA),
    ]
    curves = {
        "volume": states.volumes_A3.tolist(),
        "energy": states.energies_eV.tolist(),
        "fit": [states.energy_eV, states.volume_A3, states.bulk_modulus_GPa * GPa,
                states.pressure_derivative],
    }  # fmt: skip
    return Section(found, curves)
