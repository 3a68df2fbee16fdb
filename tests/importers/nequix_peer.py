"""nequix itself in float64, on structures of our own.

    python tests/importers/nequix_peer.py NEQUIX_MP_1.nqx

needs an environment with nequix, jax and what they import (nequix 0.4.5 made `data/nequix.json`),
and writes its energies, forces and stress. Of nequix's two implementations the one in torch can
compute in float64: it is built and run under that default dtype, which keeps e3nn's Wigner 3j
tensors exact, and its graph is made without the cast to float32.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import ase
import ase.build
import numpy as np
import torch
from agreement import DATA, Reference, save_references

NAME = "nequix-mp-1"


def structures() -> dict[str, ase.Atoms]:
    """Copper, ethanol in a box, and a box with each of the 89 elements that the model knows."""
    generator = np.random.default_rng(4)
    copper = ase.build.bulk("Cu", "fcc", 3.61, cubic=True)
    ethanol = ase.build.molecule("CH3CH2OH", cell=[9.0, 8.5, 8.0], pbc=True)
    numbers = [*range(1, 84), *range(89, 95)]
    places = 3.0 * np.array(list(np.ndindex(5, 5, 4))[: len(numbers)])
    elements = ase.Atoms(numbers, places, cell=[15.0, 15.0, 12.0], pbc=True)
    result = {"Cu4": copper, "ethanol": ethanol, "elements": elements}
    for atoms in result.values():
        atoms.positions += 0.06 * generator.normal(size=(len(atoms), 3))
    return result


def build(weights: Path) -> tuple[torch.nn.Module, dict]:
    """nequix's torch model in float64, and its configuration."""
    from nequix.calculator import from_pretrained

    with tempfile.TemporaryDirectory() as folder:  # it writes what it converts beside the file
        copy = shutil.copy(weights, folder)
        model, config = from_pretrained(model_path=copy, backend="torch", use_kernel=False)
    return model.double().eval(), config


def evaluate(model: torch.nn.Module, config: dict, atoms: ase.Atoms) -> Reference:
    """What nequix's own graph and model give, nothing cast to float32."""
    from nequix.data import atomic_numbers_to_indices, preprocess_graph

    indices = atomic_numbers_to_indices(config["atomic_numbers"])
    graph = preprocess_graph(atoms, indices, config["cutoff"], False)
    energies, forces, stress = model(
        torch.tensor(graph["species"]).long(),
        torch.tensor(atoms.positions),
        torch.tensor(graph["shifts"]).double(),
        torch.tensor(np.stack([graph["senders"], graph["receivers"]])).long(),
        torch.tensor(np.array(atoms.cell)).unsqueeze(0),
        torch.tensor(graph["n_node"]),
        torch.tensor(graph["n_edge"]),
        torch.zeros(len(atoms), dtype=torch.int64),
    )
    energies, forces, stress = (t.detach().numpy() for t in (energies, forces, stress))
    assert energies.dtype == forces.dtype == stress.dtype == np.float64
    return Reference(float(energies.sum()), energies, forces, stress[0])


def main(weights: Path) -> None:
    """Write the reference numbers."""
    torch.set_default_dtype(torch.float64)
    model, config = build(weights)
    references = {label: evaluate(model, config, atoms) for label, atoms in structures().items()}
    save_references(DATA / "nequix.json", structures(), {NAME: references})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
