"""Compare fastequi with numbers that another package computed for the same structures.

Reference numbers live in JSON: the structures themselves and, per model, energy, energies per
atom, forces and stress in float64 (eV, Å; stress 3x3 in ASE's sign, null without a cell).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from fastequi.graph import Graph
from fastequi.md.neighbors.build import build_edges
from fastequi.potential import Potential, Prediction

DATA = Path(__file__).parent / "data"
ENERGY_eV_PER_ATOM, FORCE_eV_A, STRESS_eV_A3 = 1e-9, 1e-8, 1e-9


@dataclass(frozen=True)
class Reference:
    """What the other package says of one structure."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Reference":
        stress = None if data["stress"] is None else np.array(data["stress"])
        return cls(data["energy"], np.array(data["energies"]), np.array(data["forces"]), stress)

    def to_json(self) -> dict[str, Any]:
        return {
            "energy": self.energy,
            "energies": self.energies.tolist(),
            "forces": self.forces.tolist(),
            "stress": None if self.stress is None else self.stress.tolist(),
        }


def atoms_from_json(data: dict[str, Any]) -> ase.Atoms:
    """numbers, positions in Å, cell in Å, pbc."""
    return ase.Atoms(data["numbers"], data["positions"], cell=data["cell"], pbc=data["pbc"])


def atoms_to_json(atoms: ase.Atoms) -> dict[str, Any]:
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": np.asarray(atoms.cell).tolist(),
        "pbc": atoms.pbc.tolist(),
    }


def save_references(
    path: Path, systems: dict[str, ase.Atoms], references: dict[str, dict[str, Reference]]
) -> None:
    """references: model -> structure -> numbers."""
    data = {
        "structures": {name: atoms_to_json(atoms) for name, atoms in systems.items()},
        "references": {
            model: {name: reference.to_json() for name, reference in of_model.items()}
            for model, of_model in references.items()
        },
    }
    path.write_text(json.dumps(data, separators=(",", ":")) + "\n")


def load_references(path: Path) -> tuple[dict[str, ase.Atoms], dict[str, dict[str, Reference]]]:
    """Structures, and model -> structure -> numbers."""
    data = json.loads(path.read_text())
    systems = {name: atoms_from_json(entry) for name, entry in data["structures"].items()}
    references = {
        model: {name: Reference.from_json(entry) for name, entry in of_model.items()}
        for model, of_model in data["references"].items()
    }
    return systems, references


def predict(potential: Potential, atoms: ase.Atoms) -> Prediction:
    """The potential on one structure."""
    positions, cell = atoms.positions.astype(np.float64), np.asarray(atoms.cell, dtype=np.float64)
    edges = build_edges(positions, cell, atoms.pbc, potential.cutoff)
    graph = Graph(
        positions=torch.tensor(positions),
        atomic_numbers=torch.tensor(atoms.numbers, dtype=torch.int64),
        cell=torch.tensor(cell).unsqueeze(0),
        pbc=torch.tensor(atoms.pbc).unsqueeze(0),
        system_idx=torch.zeros(len(atoms), dtype=torch.int64),
        edge_src=torch.tensor(edges[1]),
        edge_dst=torch.tensor(edges[0]),
        edge_shift=torch.tensor(edges[2:].T, dtype=torch.float64),
    )
    return potential.compute(graph)


def assert_agrees(prediction: Prediction, reference: Reference, what: str) -> None:
    """Hold energies, forces and stress to the tolerances above; the message names the worst."""
    n_atoms = len(reference.energies)
    found = {
        "energy per atom": (
            abs(float(prediction.energy[0]) - reference.energy) / n_atoms,
            ENERGY_eV_PER_ATOM,
        ),
        "energies": (
            np.abs(prediction.energies.cpu().numpy() - reference.energies).max(),
            ENERGY_eV_PER_ATOM,
        ),
        "forces": (np.abs(prediction.forces.cpu().numpy() - reference.forces).max(), FORCE_eV_A),
    }
    if reference.stress is not None:
        stress = prediction.stress[0].cpu().numpy()
        found["stress"] = (np.abs(stress - reference.stress).max(), STRESS_eV_A3)
    text = ", ".join(f"{name} {value:.1e}" for name, (value, _) in found.items())
    print(f"{what}: differs by {text}")
    wrong = [name for name, (value, limit) in found.items() if not value <= limit]
    assert not wrong, f"{what}: {', '.join(wrong)} beyond tolerance; differs by {text}"
