"""Phonons by finite displacements, with phonopy: bands, density of states, heat capacity.

Force constants reach as far as the supercell. Polar crystals lack the splitting of longitudinal
modes near the zone's centre: it follows from charges, which these models do not know.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.units import J, kB, kJ, mol
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Columns, Finding
from fastequi.plotting import COLOURS, label_axes
from fastequi.properties.property import Progress, Property

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISPLACEMENT_A = 0.01
#: Supercells are at least this long along each axis; forces of most models end below half of it.
LENGTH_A = 12.0
BAND_POINTS = 241
#: Points of the mesh per 1/Å of reciprocal length (with 2 pi).
MESH_A = 30.0
TEMPERATURES_K = np.arange(0.0, 1001.0, 10.0)
#: Room temperature, for what is printed.
ROOM_K = 300.0
#: Below this a mode counts as imaginary; above, as the noise of three acoustic ones at the centre.
IMAGINARY_THZ = -0.05


@dataclass(frozen=True)
class Phonons:
    """Of a primitive cell; imaginary frequencies are negative.

    path           distances [points] in 1/Å, and where special points are: ticks, labels
    bands_THz      [points, 3 x atoms]
    dos            frequencies in THz, states per THz and primitive cell
    thermal        temperature in K; per atom: free energy in eV, entropy and heat capacity in k_B
    """

    n_atoms: int
    supercell: tuple[int, int, int]
    path: NDArray[np.float64]
    ticks: list[float]
    labels: list[str]
    bands_THz: NDArray[np.float64]
    dos: dict[str, NDArray[np.float64]]
    thermal: dict[str, NDArray[np.float64]]
    solver: Any

    @property
    def lowest_THz(self) -> float:
        return float(min(self.bands_THz.min(), self.dos["frequency_THz"][_occupied(self.dos)][0]))

    @property
    def is_stable(self) -> bool:
        return self.lowest_THz > IMAGINARY_THZ

    def frequencies_THz(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of wave vectors [n, 3] in reciprocal lattice vectors of the primitive cell."""
        return _frequencies(self.solver, points)


def why_no_phonons() -> str:
    """What to tell the user where there is no phonopy; '' where there is."""
    if find_spec("phonopy"):
        return ""
    return "phonons need phonopy (pip install 'fastequi[properties]')"


def phonons(
    atoms: Atoms,
    progress: Progress | None = None,
    length_A: float = LENGTH_A,
    path: str | None = None,
) -> Phonons:
    """Of atoms at rest, in a supercell at least length_A long along each axis.

    path: special points as ASE names them, "GXKGL"; the standard path of the lattice if not given.
    Raises InputError where phonopy is missing.
    """
    if why_no_phonons():
        raise InputError(why_no_phonons())
    from phonopy import Phonopy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy's own deprecations
        repeats = repeats_for(atoms, length_A)
        solver = Phonopy(_cell(atoms), np.diag(repeats), primitive_matrix="auto", log_level=0)
        solver.generate_displacements(distance=DISPLACEMENT_A)
        assert atoms.calc is not None
        solver.forces = _forces(solver.supercells_with_displacements or [], atoms.calc, progress)
        solver.produce_force_constants()
        solver.symmetrize_force_constants()
        return _observed(solver, repeats, path)


def repeats_for(atoms: Atoms, length_A: float) -> tuple[int, int, int]:
    """How often a cell is repeated until its faces are length_A apart."""
    heights = 1.0 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    a, b, c = (max(1, int(np.ceil(length_A / height - 1e-6))) for height in heights)
    return a, b, c


def _observed(solver: Any, repeats: tuple[int, int, int], path: str | None) -> Phonons:
    """What is read off the force constants."""
    primitive = Atoms(
        numbers=solver.primitive.numbers,
        scaled_positions=solver.primitive.scaled_positions,
        cell=solver.primitive.cell,
        pbc=True,
    )
    band = primitive.cell.bandpath(path, npoints=BAND_POINTS)
    distances, ticks, labels = band.get_linear_kpoint_axis()
    bands = _frequencies(solver, band.kpts)
    lengths = 2 * np.pi * np.linalg.norm(primitive.cell.reciprocal().array, axis=1)
    solver.run_mesh(np.maximum(np.ceil(MESH_A * lengths / (2 * np.pi)).astype(int), 1))
    solver.run_total_dos()
    dos = solver.get_total_dos_dict()
    solver.run_thermal_properties(temperatures=TEMPERATURES_K)
    return Phonons(
        len(primitive), repeats, distances, list(map(float, ticks)),
        [label.replace("G", "Γ") for label in labels], bands,
        {"frequency_THz": dos["frequency_points"], "states_per_THz": dos["total_dos"]},
        _thermal(solver.get_thermal_properties_dict(), len(primitive)), solver,
    )  # fmt: skip


def _frequencies(solver: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the new name is younger than 2.40
        solver.run_qpoints(points)
        return np.asarray(solver.get_qpoints_dict()["frequencies"])


def _thermal(found: dict[str, Any], n_atoms: int) -> dict[str, NDArray[np.float64]]:
    """phonopy's kJ/mol and J/K/mol per cell, per atom in eV and in Boltzmann's constants."""
    return {
        "temperature_K": np.asarray(found["temperatures"]),
        "free_energy_eV": np.asarray(found["free_energy"]) * kJ / mol / n_atoms,
        "entropy_kB": np.asarray(found["entropy"]) * J / mol / kB / n_atoms,
        "heat_capacity_kB": np.asarray(found["heat_capacity"]) * J / mol / kB / n_atoms,
    }


def _forces(
    cells: Iterable[Any], calculator: Calculator, progress: Progress | None
) -> NDArray[np.float64]:
    """[cells, atoms, 3] in eV/Å."""
    forces = []
    for k, cell in enumerate(displaced := list(cells)):
        atoms = Atoms(numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True)
        atoms.calc = calculator
        forces.append(atoms.get_forces())
        if progress:
            progress(k + 1, len(displaced))
    return np.array(forces)


def _cell(atoms: Atoms) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )


def _occupied(dos: dict[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    return dos["states_per_THz"] > 1e-3 * dos["states_per_THz"].max()


def findings(found: Phonons) -> list[Finding | str]:
    at_room = int(np.argmin(np.abs(found.thermal["temperature_K"] - ROOM_K)))
    heat, entropy = (found.thermal[f"{n}_kB"][at_room] for n in ("heat_capacity", "entropy"))
    zero_point = found.thermal["free_energy_eV"][0]
    cells = "x".join(map(str, found.supercell))
    remarks = [f"supercell of {cells} cells; a polar crystal would need charges near Γ"]
    if not found.is_stable:
        remarks.append("imaginary modes: at rest this crystal is not stable in this cell")
    return [
        Finding("highest_THz", "highest frequency", float(found.bands_THz.max()), "THz"),
        Finding("lowest_THz", "lowest frequency", found.lowest_THz, "THz"),
        Finding("zero_point_energy_eV_per_atom", "zero-point energy", zero_point, "eV/atom"),
        Finding("heat_capacity_300K_kB", "heat capacity at 300 K", heat, "k_B/atom"),
        Finding("entropy_300K_kB", "entropy at 300 K", entropy, "k_B/atom"),
        *remarks,
    ]


def tables(found: Phonons) -> dict[str, Columns]:
    bands = {f"mode_{k + 1}_THz": mode for k, mode in enumerate(found.bands_THz.T)}
    return {
        "phonon_bands": {"distance_per_A": found.path, **bands},
        "phonon_dos": found.dos,
        "thermal": found.thermal,
    }


def draw(found: Phonons, figure: "Figure") -> None:
    """Bands, and the density of states beside them."""
    bands, dos = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    bands.plot(found.path, found.bands_THz, color=COLOURS[0], lw=1.2)
    label_axes(bands, "", "frequency (THz)")
    bands.set_xticks(found.ticks, _merged(found.ticks, found.labels))
    bands.set_xlim(found.path[0], found.path[-1])
    bands.axhline(0.0, color="#999999", lw=0.8)
    dos.plot(found.dos["states_per_THz"], found.dos["frequency_THz"], color=COLOURS[0], lw=1.2)
    label_axes(dos, "states per THz", "")
    dos.set_xlim(left=0.0)
    low, high = min(found.lowest_THz, 0.0), float(found.bands_THz.max())
    dos.set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))


def _merged(ticks: list[float], labels: list[str]) -> list[str]:
    """Two special points at one place of the path are named together, once."""
    shown = list(labels)
    for k in range(1, len(ticks)):
        if ticks[k] == ticks[k - 1]:
            shown[k - 1], shown[k] = "", f"{labels[k - 1]}|{labels[k]}"
    return shown


PROPERTY = Property("phonons", phonons, findings, tables, draw, (7.5, 4.0), why_no_phonons)
