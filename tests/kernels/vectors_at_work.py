"""Writes what kernels give at the width of vectors that the environment asks for.

python vectors_at_work.py FILE: {name: tensor} of dynamics and of a step of training, in both
precisions; with full parity, and counts of channels that no vector divides.
"""

import sys

import torch
from ase.build import bulk

import fastequi
from fastequi.engine.gradients import Sample, TangentGradient
from fastequi.kernels.llvm.target import host
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Prediction

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def silicon():
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=4)
    return atoms


def dynamics(dtype: str) -> dict[str, torch.Tensor]:
    """Energy, forces and stress of the bundled model."""
    atoms = silicon()
    atoms.calc = fastequi.FastEquiCalculator("silicon", dtype=dtype, kernels="cpu")
    return {
        "energy": torch.tensor([atoms.get_potential_energy()], dtype=torch.float64),
        "forces": torch.from_numpy(atoms.get_forces()),
        "stress": torch.from_numpy(atoms.get_stress()),
    }


def training(dtype: str) -> dict[str, torch.Tensor]:
    """Forces and all gradients of a loss, of a network with random weights."""
    torch.manual_seed(0)
    spec = new_spec([14], layers=2, l_max=2, channels=(9, 5, 3), parity="full",
                    cutoff_A=4.0, radial_hidden=(9,))  # fmt: skip
    network = set_precision(NequIP(spec), DTYPES[dtype])
    found = TangentGradient(network, "cpu")(_sample(), _loss)
    gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return {"network's forces": found.forces, "gradients": torch.cat(gradients)}


def _sample() -> Sample:
    state = state_from_atoms([silicon()])
    graph = NeighborList(4.0, 0.0).graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )
    each = torch.arange(len(graph.edge_src))  # every directed edge a pair of its own
    return Sample(graph, each, each)


def _loss(prediction: Prediction) -> torch.Tensor:
    return prediction.forces.square().mean() + (prediction.energy - 3.0).square().mean()


if __name__ == "__main__":
    results = {"vector_bytes": torch.tensor(host().vector_bytes)}
    for name in DTYPES:
        for values in (dynamics(name), training(name)):
            results |= {f"{name} {key}": value.double() for key, value in values.items()}
    torch.save(results, sys.argv[1])
