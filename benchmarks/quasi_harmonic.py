"""A cubic crystal that expands by the pressure of its phonons: the quasi-harmonic approximation.

At each volume phonons are harmonic (`fastequi.properties.phonons`); the volume at a temperature is
that of the least free energy (phonopy's `PhonopyQHA`, with the equation of state of Vinet et al.).
"""

import warnings

import numpy as np
from ase import Atoms

from fastequi.properties.phonons import phonons
from fastequi.properties.relaxation import strained

#: Volumes, as shares of that at rest; those of a hot crystal must be among them.
VOLUMES = np.linspace(0.96, 1.12, 9)
TEMPERATURES_K = np.arange(0.0, 801.0, 50.0)
#: How atoms move -> whether phonopy is to count them as classical.
KINDS = {"QHA, classical": True, "QHA, quanta": False}


def quasi_harmonic(atoms: Atoms) -> dict[str, dict[float, float]]:
    """Of a cubic cell at rest with a calculator: how -> temperature in K -> lattice constant in Å.

    The last temperature is left out: phonopy needs it for slopes.
    """
    from phonopy import PhonopyQHA

    cells = [strained(atoms, (v ** (1 / 3) - 1.0) * np.eye(3), relax=False) for v in VOLUMES]
    solvers = [phonons(cell).solver for cell in cells]
    formula_units = len(atoms) / len(solvers[0].primitive)
    energies = [cell.get_potential_energy() / formula_units for cell in cells]
    volumes = [cell.get_volume() / formula_units for cell in cells]
    found = {}
    for name, classical in KINDS.items():
        # At 0 K a classical crystal has no free energy to speak of.
        temperatures = TEMPERATURES_K[1:] if classical else TEMPERATURES_K
        thermal = []
        for solver in solvers:
            solver.run_thermal_properties(
                temperatures=temperatures, classical=classical, cutoff_frequency=1e-2
            )
            thermal.append(solver.get_thermal_properties_dict())
        free, entropy, heat = (
            np.array([one[key] for one in thermal]).T
            for key in ("free_energy", "entropy", "heat_capacity")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # phonopy's own deprecations
            qha = PhonopyQHA(volumes, energies, temperatures, free, heat, entropy)
        lengths = np.cbrt(np.asarray(qha.volume_temperature) * formula_units)
        found[name] = {float(T): float(a) for T, a in zip(temperatures, lengths, strict=False)}
    return found
