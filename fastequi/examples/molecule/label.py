"""Energies and forces of sampled geometries, by density functional theory with PySCF.

    pip install pyscf ase
    python label.py sample/trajectory.extxyz methanol.extxyz --skip 11

Takes a few seconds a frame and may be stopped at any time: started again, it labels the frames that
are not in the file yet. For closed-shell molecules without a cell; another level of theory is
another `XC` and `BASIS`.
"""

import argparse
import os
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree
from pyscf import dft, gto

XC, BASIS = "PBE", "def2-SVP"
GRID_LEVEL = 4  # forces change by less than 1e-4 eV/Å from here to level 5
SCF_TOLERANCE = 1e-10  # Hartree


def mean_field(atoms: Atoms) -> dft.rks.RKS:
    """A converged, density-fitted Kohn-Sham calculation; RuntimeError if it does not converge."""
    atom = list(zip(atoms.get_chemical_symbols(), (atoms.positions / Bohr).tolist(), strict=True))
    molecule = gto.M(atom=atom, unit="Bohr", basis=BASIS, verbose=0)
    scf = dft.RKS(molecule, xc=XC).density_fit()
    scf.conv_tol = SCF_TOLERANCE
    scf.grids.level = 1  # most of the way on a coarse grid, which costs a tenth
    scf.kernel()
    scf.grids.level = GRID_LEVEL
    scf.grids.reset()
    scf.kernel(scf.make_rdm1())
    if not scf.converged:
        raise RuntimeError(f"no converged SCF after {scf.max_cycle} cycles")
    return scf


def forces_of(scf: dft.rks.RKS) -> np.ndarray:
    """Forces [atoms, 3] in eV/Å; exact derivatives of the energy, as the grid moves with atoms."""
    gradient = scf.nuc_grad_method()
    gradient.grid_response = True
    return -gradient.kernel() * Hartree / Bohr


def labelled(geometry: Atoms, config_type: str) -> Atoms:
    """The geometry, rounded as files hold it, with its energy (eV) and forces (eV/Å)."""
    atoms = Atoms(geometry.numbers, geometry.positions.round(8))
    scf = mean_field(atoms)
    results = {"energy": round(scf.e_tot * Hartree, 8), "forces": forces_of(scf).round(6)}
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info = {"config_type": config_type, "level": f"{XC}/{BASIS}"}
    if "step" in geometry.info:
        atoms.info["step"] = geometry.info["step"]
    return atoms


def identity(atoms: Atoms) -> tuple[bytes, bytes]:
    """What makes two frames the same: elements, and positions as files hold them."""
    return atoms.numbers.tobytes(), (atoms.positions.round(8) + 0.0).tobytes()


def write_whole(out: Path, frames: list[Atoms]) -> None:
    """Replace the file at once: it never holds half a frame."""
    part = out.with_name(f"{out.name}.part")
    ase.io.write(part, frames, format="extxyz")
    os.replace(part, out)


def label(geometries: list[Atoms], out: Path, config_type: str) -> None:
    """Add to `out` every geometry that it lacks; frames without a converged SCF are left out."""
    frames = list(ase.io.iread(out)) if out.exists() else []
    done = {identity(frame) for frame in frames}
    missing = [atoms for atoms in geometries if identity(atoms) not in done]
    start = time.monotonic()
    for count, geometry in enumerate(missing, start=1):
        try:
            frames.append(labelled(geometry, config_type))
        except RuntimeError as error:
            print(f"left out: {error}")
            continue
        write_whole(out, frames)
        each = (time.monotonic() - start) / count
        left = each * (len(missing) - count) / 60
        print(f"{count} of {len(missing)} frames  {each:.1f} s each  {left:.0f} min left")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=f"Label geometries with {XC}/{BASIS}.")
    parser.add_argument("geometries", type=Path, help="any trajectory that ASE reads")
    parser.add_argument("out", type=Path, help="extxyz with energy (eV) and forces (eV/Å)")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many frames at the start")
    parser.add_argument("--config-type", default="md", help="written into each frame")
    options = parser.parse_args()
    geometries = list(ase.io.iread(options.geometries))[options.skip :]
    label(geometries, options.out, options.config_type)


if __name__ == "__main__":
    main()
