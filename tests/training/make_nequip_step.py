"""Write down five steps of NequIP's own training of a tiny model: `nequip_step.json`.

    python -m tests.training.make_nequip_step

needs an environment with nequip (0.19.1 made the file beside this one) and takes seconds. The file
holds, in float64 and fastequi's layout: the architecture, the weights at the start, the labelled
structures, the losses of the steps, and the weights after the first and the last.
"""

import json
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks.nequip_training import NequIPTraining
from tests.training.stepping import BATCHES, EMA_DECAY

OUT = Path(__file__).with_name("nequip_step.json")
LOSS = {"energy_per_atom": 2.0, "forces": 1.0, "stress": 30.0}
MODEL: dict[str, Any] = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 1,
    "model_dtype": "float64",
    "type_names": ["O", "H"],
    "r_max": 3.5,
    "l_max": 2,
    "parity": False,
    "num_layers": 3,
    "num_features": [3, 2, 1],
    "num_bessels": 3,
    "radial_mlp_width": 4,
    "avg_num_neighbors": 8.0,
    "per_type_energy_shifts": {"O": -3.0, "H": -1.0},
    "per_type_energy_scales": {"O": 1.3, "H": 0.7},
}


def structures() -> list[Atoms]:
    """Three crystals with stress, then three water molecules without; random labels."""
    random = np.random.default_rng(5)
    found = []
    for kind in 3 * ["crystal"] + 3 * ["molecule"]:
        if kind == "crystal":
            atoms = ase.build.bulk("O", "diamond", 3.8)
            atoms.numbers[:] = random.permutation([8, 1])
            strain = np.eye(3) + 0.08 * random.normal(size=(3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        else:
            atoms = ase.build.molecule("H2O")
        atoms.positions += 0.08 * random.normal(size=(len(atoms), 3))
        results = {"energy": random.normal(), "forces": random.normal(size=(len(atoms), 3))}
        if kind == "crystal":
            results["stress"] = 0.1 * random.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def main() -> None:
    """Take the steps and write the file."""
    peer = NequIPTraining(MODEL, LOSS, EMA_DECAY)
    systems = structures()
    written: dict[str, Any] = {
        "spec": json.loads(peer.spec().to_json()),
        "structures": [_to_json(atoms) for atoms in systems],
        "loss_weights": LOSS,
        "start": _numbers(peer.weights()),
        "losses": [],
    }
    for k, frames in enumerate(BATCHES):
        loss = peer.step(peer.batch([systems[i] for i in frames]))
        written["losses"].append(float(loss))
        if k == 0:
            written["after one step"] = _numbers(peer.weights())
    written["after all steps"] = _numbers(peer.weights())
    written["average"] = _numbers(peer.averaged_weights())
    OUT.write_text(json.dumps(written, separators=(",", ":")) + "\n")
    print(f"wrote {OUT}: {OUT.stat().st_size / 1000:.0f} kB, losses {written['losses']}")


def _to_json(atoms: Atoms) -> dict[str, Any]:
    results = {
        key: np.asarray(value).tolist() for key, value in getattr(atoms.calc, "results", {}).items()
    }
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": np.asarray(atoms.cell).tolist(),
        "pbc": atoms.pbc.tolist(),
        "results": results,
    }


def _numbers(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: weight.tolist() for name, weight in weights.items()}


if __name__ == "__main__":
    main()
