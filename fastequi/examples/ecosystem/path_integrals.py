"""i-PI: silicon as a path integral; its kinetic energy beside that of its phonons.

    pip install ipi && python path_integrals.py

At 300 K silicon's nuclei are quantum: their kinetic energy is well above 3/2 kT. i-PI moves eight
beads, fastequi is the force behind its socket, and what 8 beads give for harmonic vibrations is
known exactly. Prints both and draws path_integrals.png. In two shells, the same is

    i-pi path_integrals.xml
    fastequi ipi-driver silicon silicon.extxyz --unix fastequi-silicon
"""

import subprocess
import time
from pathlib import Path

import matplotlib
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.units import _hbar, _k, kB
from ase.vibrations.data import VibrationsData

import fastequi
from fastequi.integrations.ipi import run_driver

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
BEADS, TEMPERATURE_K, ADDRESS = 8, 300.0, "fastequi-silicon"


def kinetic_energy_of_phonons(beads: int) -> float:
    """Of the harmonic crystal as a ring of so many beads, eV per atom.

    sum over modes of kT/2 sum over k of w² / (w² + w_k²), w_k = 2 P kT/hbar sin(pi k / P); the
    limit of many beads is hbar w / 4 coth(hbar w / 2 kT). (Ceriotti et al., J. Chem. Phys. 133,
    124104, 2010)
    """
    atoms = crystal()
    atoms.calc = fastequi.FastEquiCalculator("silicon", dtype="float64", device="cpu")
    n, step_A = 3 * len(atoms), 0.01
    hessian, x = np.empty((n, n)), atoms.positions.copy()
    for k in range(n):
        sides = []
        for sign in (1, -1):
            atoms.positions = x
            atoms.positions.flat[k] += sign * step_A
            sides.append(atoms.get_forces().ravel())
        hessian[k] = (sides[1] - sides[0]) / (2 * step_A)
    atoms.positions = x
    hessian = 0.5 * (hessian + hessian.T)
    energies = np.real(VibrationsData.from_2d(atoms, hessian).get_energies())  # hbar w, eV
    omega = np.sort(energies)[3:] / (_hbar / _k * kB)  # 1/s; without the three translations
    ring = 2 * beads * _k * TEMPERATURE_K / _hbar * np.sin(np.pi * np.arange(beads) / beads)
    shares = omega[:, None] ** 2 / (omega[:, None] ** 2 + ring**2)
    return 0.5 * kB * TEMPERATURE_K * (shares.sum() + 3) / len(atoms)


def run() -> np.ndarray:
    """i-PI in a process of its own, its forces in this one; its table of properties."""
    ipi = subprocess.Popen(["i-pi", "path_integrals.xml"], cwd=HERE)
    while not Path(f"/tmp/ipi_{ADDRESS}").exists() and ipi.poll() is None:
        time.sleep(0.1)
    try:
        run_driver("silicon", crystal(), unix_socket=ADDRESS, dtype="float64", device="cpu")
    finally:
        ipi.wait()
    return np.loadtxt(HERE / "path_integrals.out")


def crystal() -> Atoms:
    return bulk("Si", cubic=True)


def main() -> tuple[float, float]:
    """Kinetic energies in eV per atom, of i-PI's centroid virial estimator and of the phonons."""
    write_ipi_xyz(HERE / "path_integrals.xyz", crystal())
    kinetic = run()[:, 5] / len(crystal())
    mean, exact = kinetic[len(kinetic) // 5 :].mean(), kinetic_energy_of_phonons(BEADS)
    classical, converged = 1.5 * kB * TEMPERATURE_K, kinetic_energy_of_phonons(64)
    print(f"kinetic energy in meV per atom: {1e3 * mean:.2f} of i-PI, {1e3 * exact:.2f} of phonons")
    print(f"of phonons with 64 beads: {1e3 * converged:.2f}; classical: {1e3 * classical:.2f}")
    draw(kinetic, exact, classical)
    return mean, exact


def write_ipi_xyz(path: Path, atoms: Atoms) -> None:
    """i-PI's format: the cell in the comment, lengths in Å."""
    cell = " ".join(f"{number:.12f}" for number in atoms.cell.cellpar())
    rows = [
        f"{s} {x:.12f} {y:.12f} {z:.12f}"
        for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)
    ]
    header = f"{len(atoms)}\n# CELL(abcABC): {cell} positions{{angstrom}} cell{{angstrom}}\n"
    path.write_text(header + "\n".join(rows) + "\n")


def draw(kinetic: np.ndarray, exact: float, classical: float) -> None:
    """The estimator, its running mean, and what is known."""
    figure, axis = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    steps = np.arange(1, len(kinetic) + 1)
    axis.plot(steps, 1e3 * kinetic, color="0.75", linewidth=0.7, label="centroid virial estimator")
    axis.plot(steps, 1e3 * np.cumsum(kinetic) / steps, color="tab:blue", label="its running mean")
    axis.axhline(1e3 * exact, color="tab:orange", label="phonons, 8 beads")
    axis.axhline(1e3 * classical, color="0.3", linestyle=":", label="classical, 3/2 kT")
    axis.set(xlabel="step", ylabel="kinetic energy (meV per atom)", xlim=(0, len(kinetic)))
    axis.legend(loc="lower right", ncols=2)
    figure.savefig(HERE / "path_integrals.png", dpi=150)
    print(f"wrote {HERE / 'path_integrals.png'}")


if __name__ == "__main__":
    main()
