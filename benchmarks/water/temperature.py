"""At which temperature boxes without velocities were drawn, and whether their nuclei are quantal.

Configurations of a classical canonical ensemble know their temperature: for the coordinates x of
any of its atoms, integration by parts gives

    k T = <|F|²> / <∇·∇U>,    F = -∇U

(Landau and Lifshitz; Rugh, Phys. Rev. Lett. 78, 772, 1997; Butler et al., J. Chem. Phys. 109, 6519,
1998). Forces are those of the frames; the curvature is that of a trained potential. Beads of path
integrals obey no such law: light atoms would seem to have thousands of kelvin, and O-H bonds to
spread by 0.07 Å, that of zero-point motion, instead of 0.03 Å.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from fastequi.md.analysis.statistics import mean_of
from fastequi.units import BOLTZMANN_eV_PER_K

#: For the difference of forces that gives the curvature, in Å.
_STEP_A = 2e-3


@dataclass(frozen=True)
class Temperature:
    """In K with its error (one standard deviation)."""

    K: float
    error_K: float


def of_configurations(
    frames: Sequence[Atoms], calculator: Calculator, element: int, seed: int = 0
) -> Temperature:
    """From forces of the frames, in the order of time, and the curvature of a potential.

    element  atomic number of those whose coordinates are looked at
    """
    random = np.random.default_rng(seed)
    squares, curvatures = [], []
    for frame in frames:
        mine = frame.numbers == element
        squares.append(np.square(frame.get_forces()[mine]).sum())
        curvatures.append(curvature(frame, calculator, mine, random))
    force, bend = mean_of(np.array(squares)), mean_of(np.array(curvatures))
    kelvin = force.mean / bend.mean / BOLTZMANN_eV_PER_K
    relative = float(np.hypot(force.error / force.mean, bend.error / bend.mean))
    return Temperature(kelvin, kelvin * relative)


def curvature(
    frame: Atoms, calculator: Calculator, mine: NDArray[np.bool_], random: np.random.Generator
) -> float:
    """An estimate of ∇·∇U in eV/Å² over the coordinates of these atoms [atoms], without bias.

    Random signs s have <s·H s> = trace H (Hutchinson, Commun. Stat. 18, 1059, 1989); H s is a
    central difference of forces.
    """
    signs = random.choice((-1.0, 1.0), size=(len(frame), 3)) * mine[:, None]
    moved = frame.copy()
    moved.calc = calculator
    forces = []
    for way in (1.0, -1.0):
        moved.positions = frame.positions + way * _STEP_A * signs
        forces.append(moved.get_forces())
    return float(((forces[1] - forces[0]) * signs).sum() / (2.0 * _STEP_A))
