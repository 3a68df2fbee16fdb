"""Structures, and D3 of them."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from fastequi.graph import Graph
from fastequi.md.state import state_from_atoms


def graph_of(atoms: Atoms | list[Atoms]) -> Graph:
    """Without edges, which D3 does not look at."""
    s = state_from_atoms(atoms)
    none, shift = torch.empty(0, dtype=torch.int64), torch.empty((0, 3), dtype=torch.float64)
    return Graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx, none, none, shift)


def ice() -> Atoms:
    """Four molecules in a skewed cell, some of them far outside of it."""
    water = molecule("H2O")
    atoms = Atoms(cell=[[4.5, 0.0, 0.0], [-1.2, 6.1, 0.0], [0.3, 0.9, 5.2]], pbc=True)
    for k, at in enumerate([(0, 0, 0), (2.2, 0.4, 2.6), (0.5, 3.1, 0.7), (1.9, 3.3, 3.2)]):
        one = water.copy()
        one.rotate(70.0 * k, (1.0, 2.0, 3.0))
        one.translate(np.array(at) + (k - 1) * atoms.cell.array[1])
        atoms += one
    return atoms


def rattled(atoms: Atoms, seed: int = 1) -> Atoms:
    atoms.rattle(0.07, seed=seed)
    return atoms


def structures() -> dict[str, Atoms]:
    dimer = molecule("H2O") + molecule("H2O")
    dimer.positions[3:] += [0.1, 0.2, 2.9]
    uranium = bulk("Cu") * (2, 1, 1)
    uranium.numbers[0] = 92
    return {
        "ethanol": molecule("CH3CH2OH"),
        "water dimer": dimer,
        "NaCl": rattled(bulk("NaCl", "rocksalt", 5.64)),
        "silicon": rattled(bulk("Si", cubic=True)),
        "ice": ice(),
        "alloy": rattled(uranium),
        "slab": rattled(fcc111("Al", (2, 2, 3), vacuum=6.0)),
    }


@pytest.fixture(params=list(structures()))
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return structures()[request.param]
