"""Harmonic frequencies of a molecule at the level of theory of label.py, to compare spectra with.

    python harmonic.py start.extxyz harmonic_frequencies.csv

Relaxes the molecule and takes PySCF's analytic Hessian with the average masses of the elements,
which are those of the dynamics. Minutes for a small molecule.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from label import BASIS, XC, forces_of, mean_field
from pyscf.hessian import thermo


class DensityFunctional(Calculator):
    """The level of theory of label.py as an ASE calculator."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        """Energy in eV and forces in eV/Å."""
        super().calculate(atoms, properties, system_changes)
        assert isinstance(self.atoms, Atoms)
        scf = mean_field(self.atoms)
        self.results = {"energy": scf.e_tot * units.Hartree, "forces": forces_of(scf)}


def harmonic_wavenumbers(minimum: Atoms) -> np.ndarray:
    """The 3 x atoms - 6 vibrations in 1/cm, rising; imaginary ones as negative numbers."""
    scf = mean_field(minimum)
    hessian = scf.Hessian().kernel()
    return thermo.harmonic_analysis(scf.mol, hessian, imaginary_freq=False)["freq_wavenumber"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=f"Harmonic frequencies with {XC}/{BASIS}.")
    parser.add_argument("structure", type=Path, help="any file that ASE reads")
    parser.add_argument("out", type=Path, help="CSV of the vibrations, in 1/cm")
    options = parser.parse_args()
    atoms = next(ase.io.iread(options.structure))
    atoms.calc = DensityFunctional()
    BFGS(atoms).run(fmax=1e-3)
    wavenumbers = harmonic_wavenumbers(atoms)
    rows = [f"{mode},{value:.1f}\n" for mode, value in enumerate(wavenumbers, start=1)]
    options.out.write_text("mode,wavenumber_per_cm\n" + "".join(rows))


if __name__ == "__main__":
    main()
