"""What lies further from the crystal: beta-tin, and a vacancy."""

import os

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import FIRE

from benchmarks.silicon.crystal import crystal
from benchmarks.silicon.properties import PBE, ZUO, Property, Section, near

#: c/a of beta-tin silicon with PBE; held, for this phase is not stable without pressure.
BETA_TIN_RATIO = 0.55
VACANCY_CELLS = 2


def beta_tin(volume_A3: float, calculator: Calculator) -> Atoms:
    """Beta-tin with so many Å³ per atom: I4_1/amd, 4 atoms."""
    a = (4 * volume_A3 / BETA_TIN_RATIO) ** (1 / 3)
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.25), (0.5, 0, 0.75)]
    return Atoms(
        "Si4",
        scaled_positions=places,
        cell=[a, a, a * BETA_TIN_RATIO],
        pbc=True,
        calculator=calculator,
    )


def beta_tin_energy(calculator: Calculator, crystal_energy: float) -> float:
    """Lowest energy of beta-tin over volumes, above that of the crystal, in eV/atom."""
    volumes = np.linspace(13.5, 17.5, 17)
    energies = [beta_tin(v, calculator).get_potential_energy() / 4 for v in volumes]
    return float(min(energies) - crystal_energy)


def vacancy_energy(calculator: Calculator, a: float, crystal_energy: float) -> tuple[float, bool]:
    """Formation energy in eV of a vacancy in 64 places, and whether its neighbours found rest."""
    atoms = crystal(a, calculator).repeat(VACANCY_CELLS)
    atoms.calc = calculator
    del atoms[0]
    atoms.rattle(0.02, seed=1)  # the neighbours pair up, which symmetry would not let them
    found = FIRE(atoms, logfile=os.devnull).run(fmax=0.01, steps=300)
    return float(atoms.get_potential_energy() - len(atoms) * crystal_energy), bool(found)


def check(calculator: Calculator, a: float) -> Section:
    energy = crystal(a, calculator).get_potential_energy() / 8
    formation, at_rest = vacancy_energy(calculator, a, energy)
    phase = beta_tin_energy(calculator, energy)
    return Section(
        [
            near(
                "vacancy, formation energy", formation if at_rest else np.nan, "eV", 3.25, ZUO, 30.0
            ),
            Property("beta-tin above the crystal", phase, "eV/atom", 0.29, PBE, low=0.05),
        ],
        {},
    )
