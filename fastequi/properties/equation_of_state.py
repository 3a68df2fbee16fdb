"""Energy against volume, and what Birch and Murnaghan make of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray
from scipy import optimize

from fastequi.errors import PhysicsError
from fastequi.md.analysis.analysis import Columns, Finding
from fastequi.plotting import COLOURS, label_axes
from fastequi.properties.property import Progress, Property
from fastequi.properties.relaxation import strained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Volumes reach so far from the one at rest, on either side.
VOLUME_RANGE, VOLUMES = 0.08, 17


@dataclass(frozen=True)
class EquationOfState:
    """Per atom: volumes [n] in Å³, energies [n] in eV, and the fit of birch_murnaghan to them."""

    volumes_A3: NDArray[np.float64]
    energies_eV: NDArray[np.float64]
    energy_eV: float
    volume_A3: float
    bulk_modulus_GPa: float
    pressure_derivative: float

    def fit(self, volumes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fitted energy in eV at volumes in Å³."""
        modulus = self.bulk_modulus_GPa * GPa
        return birch_murnaghan(
            volumes, self.energy_eV, self.volume_A3, modulus, self.pressure_derivative
        )


def birch_murnaghan(v, e0, v0, b0, b1):
    """Energy in eV at volume v in Å³; b0 in eV/Å³ (Birch, Phys. Rev. 71, 809, 1947)."""
    x = (v0 / v) ** (2 / 3)
    return e0 + 9 / 16 * v0 * b0 * ((x - 1) ** 3 * b1 + (x - 1) ** 2 * (6 - 4 * x))


def equation_of_state(
    atoms: Atoms, progress: Progress | None = None, relax: bool = True
) -> EquationOfState:
    """Of atoms at rest: the cell keeps its shape, atoms relax inside it where relax says so.

    Raises PhysicsError where energies have no minimum in the range.
    """
    size = len(atoms)
    volumes = atoms.get_volume() / size * (1.0 + np.linspace(-VOLUME_RANGE, VOLUME_RANGE, VOLUMES))
    energies = np.empty(VOLUMES)
    for k, volume in enumerate(volumes):
        scale = (volume * size / atoms.get_volume()) ** (1 / 3)
        cell = strained(atoms, (scale - 1.0) * np.eye(3), relax)
        energies[k] = cell.get_potential_energy() / size
        if progress:
            progress(k + 1, VOLUMES)
    return fitted(volumes, energies)


def fitted(volumes: NDArray[np.float64], energies: NDArray[np.float64]) -> EquationOfState:
    """The parameters, beginning from those of a parabola."""
    a, b, c = np.polyfit(volumes, energies, 2)
    middle = -b / (2 * a)
    if not (a > 0 and volumes[0] < middle < volumes[-1]):
        raise PhysicsError(
            f"the energy has no minimum from {volumes[0]:.4g} to {volumes[-1]:.4g} Å³/atom: this "
            "structure is not at rest, or not stable with this model"
        )
    start = (c - b**2 / (4 * a), middle, 2 * a * middle, 4.0)
    (e0, v0, b0, b1), _ = optimize.curve_fit(birch_murnaghan, volumes, energies, p0=start)
    return EquationOfState(volumes, energies, float(e0), float(v0), float(b0 / GPa), float(b1))


def findings(found: EquationOfState) -> list[Finding | str]:
    return [
        Finding("volume_A3_per_atom", "volume", found.volume_A3, "Å³/atom"),
        Finding("energy_eV_per_atom", "energy", found.energy_eV, "eV/atom"),
        Finding("bulk_modulus_GPa", "bulk modulus", found.bulk_modulus_GPa, "GPa"),
        Finding("pressure_derivative", "its pressure derivative", found.pressure_derivative),
    ]


def tables(found: EquationOfState) -> dict[str, Columns]:
    return {
        "energy_volume": {
            "volume_A3_per_atom": found.volumes_A3,
            "energy_eV_per_atom": found.energies_eV,
            "fit_eV_per_atom": found.fit(found.volumes_A3),
        }
    }


def draw(found: EquationOfState, figure: "Figure") -> None:
    axes = figure.subplots()
    volumes = np.linspace(found.volumes_A3[0], found.volumes_A3[-1], 200)
    fit = (found.fit(volumes) - found.energy_eV) * 1e3
    axes.plot(volumes, fit, color=COLOURS[0], label="Birch and Murnaghan")
    energies = (found.energies_eV - found.energy_eV) * 1e3
    axes.plot(found.volumes_A3, energies, "o", ms=4, color=COLOURS[1], label="potential")
    axes.legend(frameon=False)
    label_axes(axes, "volume (Å³/atom)", "energy above the minimum (meV/atom)")


PROPERTY = Property("energy and volume", equation_of_state, findings, tables, draw)
