"""The silicon data of mlearn as extxyz, in fastequi's units and with the right order of shear.

    python -m benchmarks.silicon.mlearn mlearn/data/Si

reads training.json and test.json (pymatgen structures with energy in eV, forces in eV/Å and
virial_stress in kbar, its sign opposite to ASE's) and writes Si_training.extxyz and Si_test.extxyz
into the folder in which it is run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import GPa

#: What the six numbers mean is not written in the files and not the same in all. Of these groups
#: it was found by comparing with another potential; frames of other groups get no stress.
ORDER = {
    "Elastic": ("xx", "yy", "zz", "xy", "yz", "xz"),
    "AIMD-NVT": ("xx", "yy", "zz", "xy", "xz", "yz"),
    "Vacancy": ("xx", "yy", "zz", "xy", "xz", "yz"),
}
VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")  # ASE's order
KBAR = 0.1 * GPa


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="with training.json and test.json")
    parser.add_argument("--output", type=Path, default=Path())
    options = parser.parse_args(arguments)
    for part in ("training", "test"):
        entries = json.loads((options.folder / f"{part}.json").read_text())
        path = options.output / f"Si_{part}.extxyz"
        write(path, [frame(entry) for entry in entries], format="extxyz")
        print(f"wrote {path}: {len(entries)} frames")


def frame(entry: dict[str, Any]) -> Atoms:
    """One structure with its labels, its group as config_type."""
    structure, labels = entry["structure"], entry["outputs"]
    atoms = Atoms(
        [site["species"][0]["element"] for site in structure["sites"]],
        positions=[site["xyz"] for site in structure["sites"]],
        cell=structure["lattice"]["matrix"],
        pbc=True,
        info={"config_type": entry["group"]},
    )
    results = {"energy": labels["energy"], "forces": np.array(labels["forces"])}
    if entry["group"] in ORDER:
        results["stress"] = ase_stress(labels["virial_stress"], ORDER[entry["group"]])
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def ase_stress(virial_kbar: list[float], order: tuple[str, ...]) -> np.ndarray:
    """Stress [6] in eV/Å³, in ASE's order and with its sign."""
    by_name = dict(zip(order, virial_kbar, strict=True))
    return -KBAR * np.array([by_name[name] for name in VOIGT])


if __name__ == "__main__":
    main()
