"""Frames of a molecule at 500 K, labelled with frozen-core CCSD(T) and its analytic gradient.

Frames are drawn with a cheaper level, which decides where they are and not what is learnt there:
dynamics on Hartree-Fock forces (STO-3G), 1 fs a step, with velocities drawn anew before every frame
(Andersen, J. Chem. Phys. 72, 2384, 1980). So a frame depends on the positions of the one before
and on its own number, and a file of frames is all that it takes to go on.

PySCF is needed here alone: `pip install pyscf`.
"""

from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

TEMPERATURE_K = 500.0
BASIS, SAMPLING_BASIS = "6-31G*", "STO-3G"
#: Fewest and most steps of 1 fs between frames, and frames before the first that is kept. Always as
#: many would leave a vibration of that period where it was: between the frames of methanol.extxyz
#: lie 30 each, about a period of C-O, so the energies of neighbours are alike (correlation 0.5).
STEPS, SETTLING = (20, 60), 20
#: Electrons that are not correlated: 1s of each heavy atom.
LEVEL = f"CCSD(T)/{BASIS}, frozen core"
SAMPLING = f"{TEMPERATURE_K:g} K dynamics on HF/{SAMPLING_BASIS} forces"


def label(path: Path, name: str, frames: int) -> None:
    """Append frames of a molecule of ASE's to an extxyz file until it has so many."""
    _pyscf()
    there = list(iread(path, index=":")) if path.exists() else []
    atoms = there[-1].copy() if there else _settled(name)
    for k in range(len(there), frames):
        started = perf_counter()
        move_(atoms, seed=k)
        sampled = perf_counter()
        energy_eV, forces = coupled_cluster(atoms)
        frame = Atoms(atoms.numbers, atoms.positions, info={"level": LEVEL, "sampling": SAMPLING})
        frame.calc = SinglePointCalculator(frame, energy=energy_eV, forces=forces)
        write(path, frame, append=True)
        print(
            f"frame {k}: {energy_eV:.4f} eV, largest force {np.abs(forces).max():.2f} eV/Å, "
            f"{sampled - started:.1f} s to get there, {perf_counter() - sampled:.1f} s for labels",
            flush=True,
        )


def _settled(name: str) -> Atoms:
    """A molecule whose geometry ASE knows, after some frames' worth of dynamics."""
    atoms = Atoms(molecule(name).symbols, molecule(name).positions)
    for k in range(SETTLING):
        move_(atoms, seed=-1 - k)
    return atoms


def move_(atoms: Atoms, seed: int) -> None:
    """From one frame to the next: new velocities, then some steps."""
    atoms.calc = HartreeFock()
    random = np.random.default_rng([abs(seed), int(seed < 0)])
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE_K, rng=random)
    Stationary(atoms)
    ZeroRotation(atoms)
    VelocityVerlet(atoms, 1.0 * units.fs).run(int(random.integers(*STEPS)))


class HartreeFock(Calculator):
    """Energy and forces of restricted Hartree-Fock; each call begins with the last density."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012, as ASE declares it

    def __init__(self) -> None:
        super().__init__()
        self._density: NDArray | None = None

    def calculate(
        self, atoms: Atoms | None = None, properties: object = None, system_changes=all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        field = _pyscf().scf.RHF(_molecule(self.atoms, SAMPLING_BASIS))
        energy = field.kernel(dm0=self._density)
        _check(field.converged, "Hartree-Fock")
        self._density = field.make_rdm1()
        gradient = field.nuc_grad_method().kernel()
        self.results = {"energy": energy * units.Hartree, "forces": _forces(gradient)}


def coupled_cluster(atoms: Atoms, basis: str = BASIS) -> tuple[float, NDArray[np.float64]]:
    """Energy in eV and forces [atoms, 3] in eV/Å of CCSD(T) with a frozen core; closed shells.

    The gradient needs the multipliers of CCSD(T), not those of CCSD that its own kernel solves for.
    """
    pyscf = _pyscf()
    field = pyscf.scf.RHF(_molecule(atoms, basis))
    field.conv_tol = 1e-11
    field.kernel()
    _check(field.converged, "Hartree-Fock")
    clusters = pyscf.cc.CCSD(field, frozen=int((atoms.numbers > 2).sum()))
    clusters.conv_tol, clusters.conv_tol_normt = 1e-9, 1e-7
    integrals = clusters.ao2mo()
    clusters.kernel(eris=integrals)
    _check(clusters.converged, "CCSD")
    energy = clusters.e_tot + clusters.ccsd_t(eris=integrals)
    amplitudes = clusters.t1, clusters.t2
    converged, *multipliers = pyscf.cc.ccsd_t_lambda.kernel(
        clusters, integrals, *amplitudes, max_cycle=100, tol=1e-7, verbose=0
    )
    _check(converged, "the multipliers of CCSD(T)")
    gradient = pyscf.grad.ccsd_t.Gradients(clusters).kernel(
        *amplitudes, *multipliers, eris=integrals
    )
    return float(energy * units.Hartree), _forces(gradient)


def _molecule(atoms: Atoms, basis: str) -> Any:
    cartesian = list(zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True))
    return _pyscf().gto.M(atom=cartesian, basis=basis, unit="Angstrom", verbose=0)


def _forces(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hartree/bohr uphill -> eV/Å downhill."""
    return -np.asarray(gradient) * (units.Hartree / units.Bohr)


def _check(converged: bool, what: str) -> None:
    if not converged:
        raise RuntimeError(f"{what} does not converge for this geometry; the last frame is kept")


def _pyscf() -> Any:
    """The package, with the modules that it does not load by itself."""
    try:
        for module in ("pyscf.cc.ccsd_t_lambda", "pyscf.grad.ccsd_t"):
            import_module(module)
    except ImportError as error:
        raise SystemExit(
            f"{error}; labels need PySCF (2.14 made the committed ones): pip install pyscf"
        ) from error
    return import_module("pyscf")
