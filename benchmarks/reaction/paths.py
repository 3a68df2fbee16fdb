"""Energies along a path that nothing was trained on: a model's beside the reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from numpy.typing import NDArray

from fastequi import FastEquiCalculator


@dataclass(frozen=True)
class EnergyPath:
    """x [frames] along the path; energies [frames] in meV above the first frame's own."""

    name: str
    x: NDArray[np.float64]
    reference_meV: NDArray[np.float64]
    predicted_meV: NDArray[np.float64]

    @property
    def largest_error_meV(self) -> float:
        return float(np.abs(self.predicted_meV - self.reference_meV).max())

    @property
    def highest_meV(self) -> tuple[float, float]:
        """Of the reference, and of the model: along a transfer these are barriers."""
        return float(self.reference_meV.max()), float(self.predicted_meV.max())


def energy_path(name: str, file: Path, calculator: FastEquiCalculator) -> EnergyPath:
    """The path in a file: `transfer` or `dihedral`."""
    frames = frames_in(file)
    reference = np.array([frame.get_potential_energy() for frame in frames])
    predicted = np.array([calculator.get_potential_energy(frame) for frame in frames])
    x = COORDINATES[name][0](frames)
    return EnergyPath(name, x, 1e3 * (reference - reference[0]), 1e3 * (predicted - predicted[0]))


def frames_in(file: Path) -> list[Atoms]:
    """All of them, in their order."""
    frames = read(file, index=":")
    assert isinstance(frames, list)
    return frames


def transfer_A(frames: list[Atoms]) -> NDArray[np.float64]:
    """Distance of the hydrogen between two oxygens from one, minus that from the other [frames]."""
    numbers = frames[0].numbers
    oxygens, hydrogens = (np.flatnonzero(numbers == z) for z in (8, 1))
    distances = frames[0].get_all_distances()
    between = hydrogens[distances[np.ix_(hydrogens, oxygens)].sum(axis=1).argmin()]
    found = np.array([frame.get_distances(between, oxygens) for frame in frames])
    return found[:, 0] - found[:, 1]


def angle_deg(frames: list[Atoms]) -> NDArray[np.float64]:
    """The angle of a scan [frames], as the file has it."""
    return np.array([frame.info["dihedral_angle"] for frame in frames])


#: Name of a path -> what its x is of frames, and what an axis says of it.
COORDINATES = {
    "transfer": (transfer_A, "H transfer: d(O-H) - d(O'-H) (Å)"),
    "dihedral": (angle_deg, "dihedral angle (degrees)"),
}
