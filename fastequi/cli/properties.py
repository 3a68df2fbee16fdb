"""`fastequi properties`: what a crystal is like with a model."""

from pathlib import Path
from typing import Annotated, Any

import ase.io
from ase import Atoms
from ase.units import GPa
from cyclopts import Parameter

import fastequi
from fastequi._version import __version__
from fastequi.calculators.ase import FastEquiCalculator
from fastequi.cli.counter import Counter
from fastequi.cli.threads import respect_quota
from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Finding, in_digits
from fastequi.md.analysis.files import write_csv
from fastequi.md.checks import check_atoms
from fastequi.md.structure import read_structure
from fastequi.plotting import new_figure, save_figure, why_no_plots
from fastequi.properties import PROPERTIES, Property
from fastequi.properties.relaxation import relaxed
from fastequi.properties.symmetry import standard_cell, why_no_symmetry
from fastequi.storage.durable import naming_files, write_json

RELAXED = "relaxed.extxyz"
SUMMARY = "properties.json"


def properties(
    model: str,
    structure: Path,
    /,
    *,
    only: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    output: Path | None = None,
    pressure_GPa: Annotated[float, Parameter(name="--pressure-GPa")] = 0.0,
    relax: Annotated[bool, Parameter(negative="--no-relax")] = True,
    modality: str | None = None,
    device: str = "auto",
    kernels: str = "auto",
) -> int:
    """Compute a crystal's lattice, energy against volume, elastic constants and phonons.

    Atoms and cell are brought to rest first; numbers are those of the standard cell. Writes
    tables (csv), pictures (png), the relaxed structure and properties.json. All is in float64.

    Parameters
    ----------
    model
        a known name (silicon, sevennet-0) or the path of a model
    structure
        a crystal in any file that ASE reads; its primitive or conventional cell
    only
        energy-volume, elasticity, phonons: some of them
    output
        folder of the files; STRUCTURE-properties beside where you are if not given
    pressure_GPa
        under which the crystal is relaxed
    relax
        --no-relax takes atoms and cell as they are
    modality
        level of theory of a multi-fidelity model, for example PBE
    device
        auto, cpu, cuda or cuda:N
    kernels
        which implementation of the convolution; auto takes the fastest that runs here
    """
    respect_quota()
    wanted = _chosen(only)
    atoms = _crystal(structure)
    options: dict[str, Any] = {"device": device, "dtype": "float64", "kernels": kernels}
    if modality is not None:
        options["modality"] = modality
    potential = fastequi.load_model(model, **options)
    check_atoms(atoms, potential)
    atoms.calc = FastEquiCalculator(potential)
    folder = output or Path(f"{structure.stem}-properties")
    with naming_files(folder):
        folder.mkdir(parents=True, exist_ok=True)
    print(f"{potential.name}, float64, {potential.kernels} kernels on {potential.device}")
    if relax:
        atoms = relaxed(atoms, pressure_GPa)
    group = why_no_symmetry()
    if not group:
        atoms, group = standard_cell(atoms)
    summary: dict[str, Any] = {
        "fastequi": __version__,
        "model": potential.name,
        "model_sha256": potential.sha256,
        "structure": str(structure),
        "space_group": group,
        "lattice": _print_lattice(atoms, group, relax),
    }
    ase.io.write(folder / RELAXED, atoms)  # with energy, forces and stress
    written = [RELAXED]
    for name in wanted:
        result, summary[name] = _computed(name, PROPERTIES[name], atoms)
        written += _written(name, PROPERTIES[name], result, folder)
    write_json(folder / SUMMARY, summary)
    print(f"\nwrote to {folder}: {', '.join([*written, SUMMARY])}")
    if why_no_plots():
        print(why_no_plots())
    return 0


def _chosen(only: tuple[str, ...]) -> list[str]:
    """Names of properties; those that cannot be computed here are left out aloud, or refused."""
    for name in only:
        if name not in PROPERTIES:
            raise InputError(f"--only {name}: allowed: {', '.join(PROPERTIES)}")
        if obstacle := PROPERTIES[name].obstacle():
            raise InputError(obstacle)
    chosen = []
    for name, row in PROPERTIES.items():
        if name in only or not only:
            if obstacle := row.obstacle():
                print(f"left out: {obstacle}")
            else:
                chosen.append(name)
    return chosen


def _crystal(path: Path) -> Atoms:
    atoms = read_structure(str(path))
    if not atoms.pbc.all() or not atoms.cell.volume:
        raise InputError(
            f"{path} is no crystal (pbc = {' '.join('FT'[int(p)] for p in atoms.pbc)}): elastic "
            "constants and phonons need a cell that is periodic in all three directions"
        )
    atoms.set_constraint()
    return atoms


def _print_lattice(atoms: Atoms, group: str, relax: bool) -> dict[str, Any]:
    """Says what the crystal at rest is, and returns it."""
    lengths, angles = atoms.cell.lengths(), atoms.cell.angles()
    stress = atoms.get_stress() / GPa
    how = "at rest" if relax else "as given"
    print(f"\n{atoms.get_chemical_formula()}, {how}; space group: {group}")
    print(f"  cell: {' x '.join(f'{x:.5f}' for x in lengths)} Å, "
          f"{' '.join(f'{x:.4g}' for x in angles)}°")  # fmt: skip
    energy = float(atoms.get_potential_energy()) / len(atoms)
    largest = float(abs(stress).max())
    print(f"  energy: {energy:.6f} eV/atom; largest stress {largest:.2g} GPa")
    return {
        "lengths_A": lengths.tolist(),
        "angles_deg": angles.tolist(),
        "energy_eV_per_atom": energy,
        "largest_stress_GPa": largest,
    }


def _computed(name: str, row: Property, atoms: Atoms) -> tuple[Any, dict[str, Any]]:
    """A result, and what of it goes into the summary; prints it."""
    with Counter(row.title) as progress:
        result = row.compute(atoms, progress)
    print(f"\n{row.title}")
    numbers: dict[str, Any] = {}
    for finding in row.findings(result):
        if isinstance(finding, Finding):
            numbers[finding.key] = finding.value
            print(f"  {finding.text}: {in_digits(finding.value)} {finding.unit}".rstrip())
        else:
            numbers.setdefault("remarks", []).append(finding)
            print(f"  note: {finding}")
    return result, numbers


def _written(name: str, row: Property, result: Any, folder: Path) -> list[str]:
    """Names of the files that were written."""
    names = []
    for table, columns in row.tables(result).items():
        write_csv(folder / f"{table}.csv", columns)
        names.append(f"{table}.csv")
    if row.draw and not why_no_plots():
        figure = new_figure(*row.size)
        row.draw(result, figure)
        save_figure(figure, folder / f"{name}.png")
        names.append(f"{name}.png")
    return names
